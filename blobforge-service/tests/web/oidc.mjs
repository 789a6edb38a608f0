import { withPage } from './browser.mjs';

const { SERVICE, PROVIDER } = process.env;

await withPage(async (page, context) => {
    await context.addCookies([{ name: 'who', value: 'ann', url: PROVIDER }]);
    await page.goto(`${SERVICE}/?page=2`);
    await page.getByRole('link', { name: 'Log in with 127.0.0.1' }).click();
    await page.waitForURL(`${SERVICE}/?page=2`);
    await page.getByText('No jobs yet').waitFor();
    await page.getByRole('button', { name: 'Log out' }).click();
    // The service's page goes on to the provider by itself.
    await page.getByRole('button', { name: 'Leave' }).click();
    await page.waitForURL(`${SERVICE}/auth/login`);
    await page.goto(`${SERVICE}/`);
    await page.waitForURL(`${SERVICE}/auth/login`);
});
