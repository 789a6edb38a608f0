import { logIn, withPage } from './browser.mjs';

await withPage(async page => {
    await logIn(page);
    await page.getByText('No jobs yet').waitFor();
});
