// What comes too late, or is no page, changes nothing of what somebody sees; and what Back brings is alive.
import { ask, logIn, submit, withPage } from './browser.mjs';

await withPage(async page => {
    await logIn(page);
    const gone = await submit();
    const kept = await submit();
    const isLive = () => page.locator('#live-mark[data-state=live]').waitFor();

    // The live reply for all jobs comes after the one for the filter that was chosen meanwhile.
    await page.goto(`${process.env.SERVICE}/jobs`);
    await isLive();
    let late;
    const held = new Promise(begun => page.route('**/jobs', async route => {
        if (!route.request().headers()['hx-request'] || late) return route.continue();
        late = new Promise(go => begun(go)).then(() => route.continue().catch(() => {}));
    }));
    await submit();
    const release = await held;
    await page.locator('#status').selectOption('failed');
    await page.waitForURL('**/jobs?status=failed');
    await page.getByText('No job is like this').waitFor();
    release();
    await late;
    await page.unroute('**/jobs');
    await submit();
    await page.waitForResponse(reply => reply.url().endsWith('/jobs?status=failed'));
    if (await page.locator('#status').inputValue() !== 'failed') throw new Error('a late reply undid the filter');
    if (await page.locator('#rows tr').count() !== 0) throw new Error('a late reply brought its rows');

    // And a filter that is on its way is not dropped for a live request.
    let go;
    const asked = new Promise(begun => page.route('**/jobs?status=cancelled', async route => {
        await new Promise(then => { go = then; begun(); });
        await route.continue();
    }, { times: 1 }));
    const ticked = page.evaluate(() => new Promise(done => {
        document.getElementById('main').addEventListener('live', () => done(), { once: true });
    }));
    await page.locator('#status').selectOption('cancelled');
    await asked;
    await submit();
    await ticked;
    go();
    await page.waitForURL('**/jobs?status=cancelled');
    await page.goBack();
    await page.waitForURL('**/jobs?status=failed');

    // Back: the mark is alive, and the theme can be chosen.
    await page.goBack();
    await page.waitForURL('**/jobs');
    await page.locator(`#job-${kept}`).waitFor();
    await isLive();
    await page.locator('#theme').selectOption('dark');
    if (await page.evaluate(() => document.documentElement.dataset.theme) !== 'dark') throw new Error('the theme is dead');

    // A refusal empties no page.
    await page.route('**/jobs', route => route.request().headers()['hx-request'] ? route.fulfill({ status: 429, body: 'later' }) : route.continue());
    await submit();
    await page.waitForResponse(reply => reply.status() === 429);
    await page.unroute('**/jobs');
    await page.locator(`#job-${kept}`).waitFor();
    const next = await submit();
    await page.locator(`#job-${next}`).waitFor();

    // All that match are those of the filter for which that was said.
    await page.goto(`${process.env.SERVICE}/jobs?status=pending`);
    await page.locator(`#select-${kept}`).check();
    await page.locator('[data-all-matching]').click();
    await page.getByText('All that match are selected').waitFor();
    await page.locator('#status').selectOption('');
    await page.waitForURL('**/jobs');
    await page.waitForFunction(() => document.getElementById('chosen')?.dataset.filter === '');
    const chosen = await page.locator('#chosen-text').textContent();
    if (chosen.startsWith('All')) throw new Error('all of something else are selected now');

    // A job that is gone says so.
    await page.goto(`${process.env.SERVICE}/jobs/${gone}`);
    await isLive();
    await ask('POST', `/api/jobs/${gone}/cancel`);
    await page.getByText('cancelled').first().waitFor();
    await ask('DELETE', `/api/jobs/${gone}`);
    await page.getByText(`no job ${gone}`).waitFor();
}, { allowed: ['status of 429', 'status of 404'] });
