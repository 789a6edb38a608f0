// A page follows what happens, keeps what somebody chose, and moves nothing under the pointer.
import { ask, logIn, submit, withPage } from './browser.mjs';

await withPage(async page => {
    await logIn(page);
    await page.evaluate(() => { globalThis.loaded = 'once'; });
    await page.locator('#live-mark[data-state=live]').waitFor();
    await submit();
    await page.locator('#n-pending', { hasText: '1' }).waitFor();

    await page.goto(`${process.env.SERVICE}/jobs`);
    await page.evaluate(() => { globalThis.loaded = 'once'; });
    await page.locator('#status').selectOption('pending');
    await page.locator('#type').selectOption('work');
    await page.waitForURL('**/jobs?status=pending&type=work');
    await page.locator('#search').fill('ash');
    await page.waitForURL('**/jobs?q=ash&status=pending&type=work');
    await page.getByText('No job is like this').waitFor();
    const wanted = await submit({ source_path: '/shelf/Ash.pdf' });
    await page.locator(`#job-${wanted}`).waitFor();
    await submit({ source_path: '/shelf/Sea.pdf' });
    await ask('PATCH', `/api/jobs/${wanted}/priority`, { priority: 'critical' });
    await page.waitForFunction(id => document.getElementById(`priority-${id}`)?.value === 'critical', wanted);
    if (await page.locator('#rows tr').count() !== 1) throw new Error('the filters did not hold');
    if (await page.locator('#search').inputValue() !== 'ash') throw new Error('the search did not hold');
    if (await page.locator('#status').inputValue() !== 'pending') throw new Error('the status did not hold');
    await page.reload();
    if (await page.locator('#search').inputValue() !== 'ash') throw new Error('the address does not say what was searched');
    await page.goBack();
    await page.waitForURL('**/jobs?status=pending&type=work');
    await page.waitForFunction(() => document.getElementById('search').value === '');

    // What somebody points at stays where it is; its rows are renewed all the same.
    await page.goto(`${process.env.SERVICE}/jobs?type=work`);
    await page.evaluate(() => { globalThis.loaded = 'once'; });
    const row = page.locator(`#job-${wanted}`);
    await row.locator('input').check();
    await row.hover();
    const before = await row.boundingBox();
    await page.locator('#live-mark[data-state=live]').waitFor();
    const late = await submit();
    await ask('POST', `/api/jobs/${wanted}/cancel`);
    await page.getByText('1 change waits').waitFor();
    await row.getByText('cancelled').waitFor();
    if ((await row.boundingBox()).y !== before.y) throw new Error('the row has moved');
    if (await page.locator(`#job-${late}`).count() !== 0) throw new Error('a row came in above it');
    await page.mouse.move(2, 2);
    await page.evaluate(() => document.activeElement.blur());
    await page.locator(`#job-${late}`).waitFor();
    if (!await row.locator('input').isChecked()) throw new Error('the selection is gone');
    if (await page.evaluate(() => globalThis.loaded) !== 'once') throw new Error('the page was loaded again');
});
