// A browser that reports what no page may do: complain, ask another site, or break its policy.
import axe from 'axe-core';
import { chromium } from 'playwright-core';

const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    // A name that no browser takes for this machine: over plain HTTP it says less there.
    '--host-resolver-rules=MAP forge.lan 127.0.0.1',
    '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/// Runs `use` with a page; fails when it does, or when a page did what none may.
export async function withPage(use, { allowed = [], ...options } = {}) {
    const browser = await chromium.launch({ executablePath: process.env.BROWSER, args });
    const complaints = [];
    try {
        const context = await browser.newContext(options);
        context.on('page', page => {
            page.on('pageerror', error => complaints.push(`error: ${error}`));
            page.on('console', message => {
                if (['error', 'warning'].includes(message.type())) complaints.push(`console: ${message.text()} (${message.location().url})`);
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
    const bad = complaints.filter(complaint => !allowed.some(words => complaint.includes(words)));
    if (bad.length > 0) throw new Error(bad.join('\n'));
}

/// Enters the service with the token of its administrator.
export async function logIn(page) {
    await page.goto(`${process.env.SERVICE}/auth/login`);
    await page.getByLabel('API token').fill(process.env.TOKEN);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.waitForURL(`${process.env.SERVICE}/`);
}

/// Asks the service as a program would.
export async function ask(method, path, body) {
    const headers = { authorization: `Bearer ${process.env.TOKEN}`, 'content-type': 'application/json' };
    const reply = await fetch(process.env.SERVICE + path, { method, headers, body: body && JSON.stringify(body) });
    const text = await reply.text();
    if (!reply.ok) throw new Error(`${method} ${path}: ${reply.status} ${text}`);
    return text ? JSON.parse(text) : {};
}

/// Hands in a job without a file.
export async function submit(more = {}) {
    return (await ask('POST', '/api/jobs', { type: 'work', source: 'none', dedup: false, ...more })).job_id;
}

/// Fails unless a page is as it should be for everybody: it fits its width, and a look at its accessibility finds nothing
/// that is serious.
export async function inspect(page, what) {
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (over > 0) throw new Error(`${what} is ${over} pixels too wide`);
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { iframes: false }));
    const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
    if (serious.length > 0) {
        const said = serious.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map(node => node.html).slice(0, 4).join('\n  ')}`);
        throw new Error(`${what}:\n${said.join('\n')}`);
    }
}
