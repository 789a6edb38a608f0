import { logIn, withPage } from './browser.mjs';

// What browsers say of where a form comes from depends on whether they take the connection for safe.
await withPage(async page => {
    await logIn(page);
    await page.getByText('No jobs yet').waitFor();
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.waitForURL(`${process.env.SERVICE}/auth/login`);
});
