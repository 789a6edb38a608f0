// Small and large files go straight to the bucket: in one piece, and in parts.
import { ask, logIn, withPage } from './browser.mjs';

const MB = 1024 * 1024;

async function drop(page, name, size) {
    const transfer = await page.evaluateHandle(({ name, size }) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(size).map((_, at) => at % 251)], name));
        return transfer;
    }, { name, size });
    await page.locator('#drop').dispatchEvent('drop', { dataTransfer: transfer });
}

await withPage(async page => {
    const to = { bucket: 0, service: 0 };
    page.on('request', request => {
        if (request.method() === 'PUT') to[request.url().startsWith(process.env.BUCKET) ? 'bucket' : 'service'] += 1;
    });
    await logIn(page);
    await page.goto(`${process.env.SERVICE}/submit`);
    await drop(page, 'Letter.pdf', 10_000);
    await page.getByText('1 of 1 submitted').waitFor();
    if (to.bucket !== 1 || to.service !== 0) throw new Error(`in one piece: ${JSON.stringify(to)}`);
    await drop(page, 'Atlas.pdf', 18 * MB);
    await page.getByText('2 of 2 submitted').waitFor();
    if (to.bucket !== 5 || to.service !== 0) throw new Error(`in four parts: ${JSON.stringify(to)}`);
    const { jobs } = await ask('GET', '/api/jobs');
    if (jobs.some(({ status }) => status !== 'pending')) throw new Error(JSON.stringify(jobs));
});
