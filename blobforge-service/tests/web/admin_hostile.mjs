// Names that people who wish nobody well gave to workers, tokens and webhooks: nothing of them runs.
import { ask, inspect, logIn, withPage } from './browser.mjs';

const { SERVICE } = process.env;
const evil = '"><script>top.pwned=1;alert(1)</script><img src=x onerror=alert(1)>';
const bytes = 'javascript:alert(1)//\'"`{{worker_id}}{token}${alert(1)}';

await ask('POST', '/api/workers/register', { id: 'w', type: 'work', protocol: 1, instance: 'of w', name: evil, host: evil,
    labels: { gpu: true, site: evil.slice(0, 60) }, metadata: { sdk: evil } });
await ask('POST', '/api/workers/w/heartbeat', { leases: [], condition: { trouble: evil, gauges: { cpu_percent: 1, memory_used_bytes: 1,
    memory_total_bytes: 2, disk_free_bytes: 1, disk_total_bytes: 2, gpus: [{ name: evil }, { name: bytes, use_percent: 99 }] } } });
await ask('POST', '/api/admin/tokens', { name: evil, scopes: ['submit'] });
await ask('POST', '/api/admin/tokens', { name: bytes, scopes: ['submit'] });
const { id: hook } = await ask('POST', '/api/webhooks', { url: 'https://evil.example/?q="><script>top.pwned=1;alert(1)</script>' });
await ask('PATCH', '/api/types/work', { per_key: { by: 'tag', name: evil.slice(0, 40) } });

await withPage(async page => {
    let asked = 0;
    page.on('dialog', () => { throw new Error('a script ran'); });
    await logIn(page);
    for (const path of ['/', '/workers', '/workers/add', '/admin/tokens', '/admin/users', '/admin/audit', '/admin/types', '/admin/webhooks',
        `/admin/webhooks/${hook}`, '/admin/system', `/admin/audit?actor=${encodeURIComponent(evil)}&action=${encodeURIComponent(evil)}`]) {
        await page.goto(SERVICE + path);
        await page.locator('#live-mark[data-state=live]').waitFor();
        await inspect(page, path);
        if (await page.evaluate(() => globalThis.pwned)) throw new Error(`a script ran at ${path}`);
        if (await page.locator('main script, main img').count() > 0) throw new Error(`a name became a part of ${path}`);
        asked += 1;
    }
    if (asked !== 11) throw new Error('not every page was looked at');
    // What is said afterwards, and what is asked before, is text as well.
    await page.goto(`${SERVICE}/admin/tokens`);
    await page.getByLabel('What it is for').fill(evil);
    await page.getByRole('button', { name: 'Make the token' }).click();
    await page.locator('#made-title', { hasText: evil }).waitFor();
    await page.locator('.toast', { hasText: evil }).waitFor();
    await page.locator('#rows tr', { hasText: evil }).first().getByRole('button').click();
    await page.locator('#confirm-text', { hasText: evil }).waitFor();
    if (await page.evaluate(() => globalThis.pwned)) throw new Error('a script ran');
});
