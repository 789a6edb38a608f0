// A large file breaks off; when it is dropped again on a page that was opened anew, only what is missing is sent.
import { ask, logIn, withPage } from './browser.mjs';

const MB = 1024 * 1024;
const sent = [];
let broken = true;

async function drop(page) {
    const transfer = await page.evaluateHandle(size => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(size).map((_, at) => at % 251)], 'Atlas.pdf'));
        return transfer;
    }, 40 * MB);
    await page.locator('#drop').dispatchEvent('drop', { dataTransfer: transfer });
}

await withPage(async page => {
    page.on('dialog', dialog => dialog.accept());
    await page.route('**/files/**', async route => {
        if (route.request().method() !== 'PUT') return route.continue();
        if (broken && sent.length > 0) return route.abort();
        sent.push(new URL(route.request().url()).pathname);
        return route.continue();
    });
    await logIn(page);
    await page.goto(`${process.env.SERVICE}/submit`);
    const told = page.waitForResponse(reply => reply.url().endsWith('/api/files/upload-url') && reply.ok());
    await drop(page);
    await told;
    // The page that tries again and again is gone before the line is mended.
    await page.goto(`${process.env.SERVICE}/submit`);
    broken = false;
    await drop(page);
    await page.getByText('1 of 1 submitted').waitFor();
    if (sent.length !== 3 || new Set(sent).size !== 3) throw new Error(`each part goes once: ${sent.join(' ')}`);
    const { jobs } = await ask('GET', '/api/jobs');
    if (jobs.length !== 1 || jobs[0].status !== 'pending') throw new Error(`not handed in once: ${JSON.stringify(jobs)}`);
}, { allowed: ['net::ERR_FAILED'] });
