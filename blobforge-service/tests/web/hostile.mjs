// Names and contents from people who wish nobody well: nothing of them runs, and nothing breaks.
import { inspect, logIn, withPage } from './browser.mjs';

const { SERVICE, JOBS } = process.env;

await withPage(async (page, context) => {
    page.on('dialog', () => { throw new Error('a script ran'); });
    await logIn(page);
    for (const path of ['/', '/jobs', '/library', '/jobs?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E', ...JOBS.split(',').map(id => `/jobs/${id}`)]) {
        await page.goto(SERVICE + path);
        await page.locator('#live-mark[data-state=live]').waitFor();
        await inspect(page, path);
        for (const frame of page.frames()) {
            const url = frame.url();
            if (!url.startsWith(SERVICE)) throw new Error(`${path} shows ${url}`);
        }
        if (await page.evaluate(() => globalThis.pwned)) throw new Error(`a script ran at ${path}`);
    }
    const [document] = JOBS.split(',');
    await page.goto(`${SERVICE}/jobs/${document}`);
    const frame = page.frameLocator('#preview-frame');
    await frame.getByText('The end of it').waitFor();
    if (await frame.locator('script, iframe, form, [onerror], [href^="javascript"]').count() > 0) throw new Error('something is left');
    const picture = await context.request.get(`${SERVICE}/jobs/${document}/files/evil.svg`);
    if (!picture.headers()['content-security-policy'].includes('sandbox')) throw new Error('an SVG could run by itself');
    if (!picture.headers()['content-disposition'].startsWith('attachment')) throw new Error('an SVG would be a page');
});
