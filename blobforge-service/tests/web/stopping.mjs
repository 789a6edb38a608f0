// A transfer is stopped by hand and goes on; a file that changes on its way is never taken for what it was.
import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ask, logIn, withPage } from './browser.mjs';

const MB = 1024 * 1024;
const [atlas, diary] = ['Atlas.pdf', 'Diary.pdf'].map(name => join(process.env.FOLDER, name));
await writeFile(atlas, Buffer.alloc(40 * MB, 'atlas'));
await writeFile(diary, 'Dear diary');

await withPage(async page => {
    let held = true;
    const waiting = [];
    await page.route('**/files/**', async route => {
        if (route.request().method() !== 'PUT' || !held) return route.continue();
        waiting.push(route);
    });
    await logIn(page);
    await page.goto(`${process.env.SERVICE}/submit`);
    await page.locator('#choose').setInputFiles(atlas);
    await page.locator('#files .status', { hasText: 'sending' }).waitFor();
    await page.getByRole('button', { name: 'Stop Atlas.pdf' }).click();
    await page.getByText('Stopped. What was sent is kept').waitFor();
    await page.locator('#files .status', { hasText: 'stopped' }).waitFor();
    held = false;
    await page.getByRole('button', { name: 'Go on' }).click();
    await page.getByText('1 of 1 submitted').waitFor();
    if (await page.getByRole('button', { name: 'Stop Atlas.pdf' }).isVisible()) throw new Error('what is there can be stopped');

    await page.route('**/api/jobs', async route => {
        if (route.request().method() === 'POST') await appendFile(diary, ', I am another one now');
        return route.continue();
    });
    await page.locator('#choose').setInputFiles(diary);
    await page.getByText('The file has changed, or is gone, since it was dropped.').waitFor();
    if (await page.getByRole('button', { name: 'Go on' }).isVisible()) throw new Error('it can go on as something else');
    const { jobs } = await ask('GET', '/api/jobs');
    const states = jobs.map(({ source_path, status }) => `${source_path} ${status}`).sort().join(', ');
    if (states !== 'Atlas.pdf pending, Diary.pdf uploading') throw new Error(states);
}, { allowed: ['net::ERR_'] });
