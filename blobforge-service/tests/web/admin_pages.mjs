// Workers and every page for administrators, wide and narrow, light and dark.
import { inspect, logIn, withPage } from './browser.mjs';

const { SERVICE, HOOK, PICTURES } = process.env;
const pages = HOOK ? {
    workers: '/workers',
    'add-worker': '/workers/add',
    tokens: '/admin/tokens',
    users: '/admin/users',
    audit: '/admin/audit',
    'audit-filtered': '/admin/audit?action=nothing_like_that',
    types: '/admin/types',
    webhooks: '/admin/webhooks',
    deliveries: `/admin/webhooks/${HOOK}`,
    'deliveries-of-jobs': '/admin/webhooks/jobs',
} : {
    // A service that nobody has used yet, but that knows how it was set up.
    system: '/admin/system',
    'workers-none': '/workers',
    'types-none': '/admin/types',
    'webhooks-none': '/admin/webhooks',
};

/// What is looked at, but is no picture to show.
const plain = new Set(['audit-filtered', 'deliveries-of-jobs', 'types-none', 'webhooks-none', 'workers-none']);

/// Takes a picture, where that is asked for.
async function keep(page, name, width, colorScheme) {
    if (!PICTURES || plain.has(name)) return;
    const size = width > 640 ? '' : '-phone';
    await page.screenshot({ path: `${PICTURES}/${name}${size}-${colorScheme}.png` });
}

for (const [width, height] of [[1440, 900], [360, 740]]) {
    for (const colorScheme of ['light', 'dark']) {
        await withPage(async page => {
            await logIn(page);
            for (const [name, path] of Object.entries(pages)) {
                const reply = await page.goto(SERVICE + path);
                if (reply.status() !== 200) throw new Error(`${path}: ${reply.status()}`);
                await page.locator('#live-mark[data-state=live]').waitFor();
                for (const summary of await page.locator('details > summary').all()) await summary.click();
                await inspect(page, `${name} ${width} ${colorScheme}`);
                if (name === 'add-worker') {
                    await page.getByRole('button', { name: 'Make its token' }).click();
                    await page.locator('#made').waitFor();
                    await inspect(page, `${name}, made, ${width} ${colorScheme}`);
                }
                // What was opened is closed again, but for the first.
                for (const summary of (await page.locator('details[open] > summary').all()).slice(1)) await summary.click();
                if (name !== 'add-worker') await page.evaluate(() => scrollTo(0, 0));
                await keep(page, name, width, colorScheme);
            }
        }, { viewport: { width, height }, colorScheme });
    }
}
