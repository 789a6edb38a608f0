// A browser that reports what no page may do: complain, ask another site, or break its policy.
import { chromium } from 'playwright-core';

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    // A name that no browser takes for this machine: over plain HTTP it says less there.
    '--host-resolver-rules=MAP forge.lan 127.0.0.1',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/// Runs `use` with a page; fails when it does, or when a page did what none may.
export async function withPage(use, options = {}) {
    const browser = await chromium.launch({ executablePath: process.env.BROWSER, args });
    const complaints = [];
    try {
        const context = await browser.newContext(options);
        context.on('page', page => {
            page.on('pageerror', error => complaints.push(`error: ${error}`));
            page.on('console', message => {
                if (['error', 'warning'].includes(message.type())) complaints.push(`console: ${message.text()}`);
            });
            page.on('request', request => {
                const { hostname, protocol } = new URL(request.url());
                if (protocol.startsWith('http') && !['127.0.0.1', 'forge.lan'].includes(hostname)) complaints.push(`off-site: ${request.url()}`);
            });
        });
        await use(await context.newPage(), context);
    } finally {
        await browser.close();
    }
    if (complaints.length > 0) throw new Error(complaints.join('\n'));
}

/// Enters the service with the token of its administrator.
export async function logIn(page) {
    await page.goto(`${process.env.SERVICE}/auth/login`);
    await page.getByLabel('API token').fill(process.env.TOKEN);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.waitForURL(`${process.env.SERVICE}/`);
}
