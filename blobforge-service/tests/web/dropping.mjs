// Three files are dropped on a page, and become Markdown; dropped again they are not sent again.
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { logIn, withPage } from './browser.mjs';

const files = await Promise.all(process.env.FILES.split(',').map(async path => {
    return { name: basename(path), content: (await readFile(path)).toString('base64') };
}));

async function drop(page, names = files) {
    const transfer = await page.evaluateHandle(names => {
        const transfer = new DataTransfer();
        for (const { name, content } of names) {
            transfer.items.add(new File([Uint8Array.from(atob(content), letter => letter.charCodeAt(0))], name));
        }
        return transfer;
    }, names);
    await page.locator('#drop').dispatchEvent('drop', { dataTransfer: transfer });
}

await withPage(async page => {
    await logIn(page);
    await page.goto(`${process.env.SERVICE}/submit`);
    await page.locator('#job-type').selectOption('pdf-text');
    await page.locator('#job-tags').fill('letters, dropped');
    await drop(page);
    await page.getByText('3 of 3 submitted').waitFor();
    await page.locator('#files .status', { hasText: 'completed' }).nth(2).waitFor({ timeout: 120_000 });
    await drop(page, files.slice(0, 1));
    await page.locator('#files .status', { hasText: 'already converted' }).waitFor();
    await page.locator('#files a', { hasText: 'open' }).first().click();
    await page.waitForURL('**/jobs/*');
    await page.frameLocator('#preview-frame').locator('article').getByText(/\w/).first().waitFor();
    await page.locator('#facts').getByText('dropped').waitFor();

    await page.goto(`${process.env.SERVICE}/library?q=tag%3Adropped`);
    if (await page.locator('#rows tr').count() !== 3) throw new Error('the library does not have all three');
    const download = page.waitForEvent('download');
    await page.getByRole('link', { name: /^Zip of/ }).first().click();
    if (!(await (await download).suggestedFilename()).endsWith('-outputs.zip')) throw new Error('no zip file came');
});
