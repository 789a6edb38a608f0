// Every page, wide and narrow, light and dark.
import { inspect, logIn, withPage } from './browser.mjs';

const { SERVICE, JOBS, PICTURES } = process.env;
const [finished, failed, running, waiting] = JOBS.split(',');
const pages = {
    overview: '/',
    jobs: '/jobs',
    filtered: '/jobs?status=failed&q=memory',
    finished: `/jobs/${finished}`,
    failed: `/jobs/${failed}`,
    running: `/jobs/${running}`,
    waiting: `/jobs/${waiting}`,
    library: '/library',
    submit: '/submit',
    nothing: '/jobs?q=nothing+is+called+that',
};

/// Pages of which nobody needs a picture.
const plain = ['filtered', 'waiting', 'nothing'];

/// Takes a picture, where that is asked for.
async function keep(page, name, width, colorScheme) {
    if (!PICTURES || plain.includes(name)) return;
    const size = width > 640 ? '' : '-phone';
    await page.screenshot({ path: `${PICTURES}/${name}${size}-${colorScheme}.png` });
}

for (const [width, height] of [[1440, 900], [360, 740]]) {
    for (const colorScheme of ['light', 'dark']) {
        await withPage(async page => {
            await page.goto(`${SERVICE}/auth/login`);
            await inspect(page, `login ${width} ${colorScheme}`);
            await keep(page, 'login', width, colorScheme);
            await logIn(page);
            for (const [name, path] of Object.entries(pages)) {
                const reply = await page.goto(SERVICE + path);
                if (reply.status() !== 200) throw new Error(`${path}: ${reply.status()}`);
                if (name === 'finished') await page.frameLocator('#preview-frame').getByRole('heading', { level: 1 }).waitFor();
                await page.locator('#live-mark[data-state=live]').waitFor();
                await inspect(page, `${name} ${width} ${colorScheme}`);
                await keep(page, name, width, colorScheme);
            }
            await page.goto(`${SERVICE}/jobs/${finished}/preview`);
            await page.getByRole('heading', { level: 1 }).waitFor();
            await keep(page, 'preview', width, colorScheme);
        }, { viewport: { width, height }, colorScheme });
    }
}
