// What is done from a page: one job, several, all that match, and a theme that stays.
import { ask, logIn, submit, withPage } from './browser.mjs';

const count = async status => (await ask('GET', `/api/jobs?status=${status}`)).total;

async function failed(number) {
    await ask('POST', '/api/workers/register', { id: 'w', type: 'work', protocol: 1, instance: 'of w' });
    for (let at = 0; at < number; at += 1) {
        const id = await submit();
        const { lease } = await ask('POST', '/api/jobs/claim', { worker_id: 'w', job_type: 'work' });
        await ask('POST', `/api/jobs/${id}/fail`, { lease, error: `page ${at} has no text`, kind: 'no_text', retryable: false });
    }
}

await withPage(async page => {
    await failed(60);
    await logIn(page);
    // All of a cause, from the overview.
    await page.getByRole('button', { name: 'Retry all 60' }).click();
    await page.getByRole('dialog').getByText('Retry 60 jobs').waitFor();
    await page.getByRole('button', { name: 'Leave it' }).click();
    if (await count('failed') !== 60) throw new Error('something was done that was not confirmed');
    await page.getByRole('button', { name: 'Retry all 60' }).click();
    await page.getByRole('button', { name: 'Retry 60', exact: true }).click();
    await page.getByText('60 jobs wait again').waitFor();
    if (await count('pending') !== 60) throw new Error('not all wait again');

    // Some, and then all that match, also on the next page.
    await page.goto(`${process.env.SERVICE}/jobs?status=pending`);
    await page.locator('#rows input').first().check();
    await page.locator('#rows input').nth(1).check();
    await page.getByText('2 selected').waitFor();
    await page.locator('#bulk-priority').selectOption('low');
    await page.getByText('2 jobs have another priority').waitFor();
    await page.locator('#rows input').first().check();
    await page.getByRole('button', { name: 'All 60 that match' }).click();
    await page.locator('[data-bulk=cancel]').click();
    await page.getByRole('dialog').getByText('Cancel 60 jobs?').waitFor();
    await page.getByRole('button', { name: 'Cancel 60', exact: true }).click();
    await page.getByText('60 jobs were cancelled').waitFor();
    if (await count('cancelled') !== 60) throw new Error('not all were called off');

    // One, and undone.
    const id = await submit({ source_path: '/shelf/Ash.pdf' });
    await page.goto(`${process.env.SERVICE}/jobs/${id}`);
    await page.getByText('next in line').waitFor();
    await page.locator('#cancel').click();
    await page.locator('#state', { hasText: 'cancelled' }).waitFor();
    await page.getByRole('button', { name: 'Undo' }).click();
    await page.locator('#state', { hasText: 'pending' }).waitFor();
    await page.locator('#priority').selectOption('critical');
    await page.getByText('has another priority now').waitFor();
    if ((await ask('GET', `/api/jobs/${id}`)).priority !== 1) throw new Error('the priority is as it was');
    await page.locator('#cancel').click();
    await page.locator('#delete').click();
    await page.getByRole('dialog').getByText('cannot be undone').waitFor();
    await page.locator('dialog [value=yes]').click();
    await page.waitForURL('**/jobs');

    // The keyboard.
    await page.keyboard.press('j');
    await page.keyboard.press('j');
    await page.keyboard.press('x');
    await page.getByText('1 selected').waitFor();
    await page.keyboard.press('?');
    await page.getByRole('heading', { name: 'Keyboard' }).waitFor();
    await page.keyboard.press('Escape');
    await page.keyboard.press('/');
    if (await page.evaluate(() => document.activeElement.id) !== 'search') throw new Error('/ does not search');
    // Whoever does not want it switches it off, on every page and for good.
    await page.locator('h1').click();
    await page.keyboard.press('?');
    await page.getByLabel('Single keys do this').uncheck();
    await page.getByRole('button', { name: 'Close' }).click();
    await page.reload();
    await page.keyboard.press('/');
    if (await page.evaluate(() => document.activeElement.id) === 'search') throw new Error('/ searches still');
    await page.keyboard.press('?');
    if (await page.locator('#keys').isVisible()) throw new Error('? does something still');
    await page.evaluate(() => localStorage.removeItem('keys'));

    // A theme stays chosen.
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await paper();
    await page.locator('#theme').selectOption('dark');
    const dark = await paper();
    if (dark === light) throw new Error('dark looks like light');
    await page.goto(`${process.env.SERVICE}/`);
    if (await paper() !== dark) throw new Error('the theme was forgotten');
}, { colorScheme: 'light' });
