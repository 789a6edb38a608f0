// What administrators do from pages, and what others do not even see.
import { execFileSync } from 'node:child_process';
import { ask, logIn, submit, withPage } from './browser.mjs';

const { SERVICE, PROGRAM } = process.env;
const cli = (token, ...words) => execFileSync(PROGRAM, words, {
    env: { PATH: process.env.PATH, BLOBFORGE_SERVER_URL: SERVICE, BLOBFORGE_API_TOKEN: token }, encoding: 'utf8' });

function refused(token) {
    try { cli(token, 'jobs', 'list'); } catch { return true; }
    return false;
}

let submitter;
await withPage(async page => {
    await logIn(page);
    await page.getByRole('link', { name: 'Admin', exact: true }).click();

    // A token: shown once, good for programs, gone with the page, and good for nothing once it is revoked.
    await page.getByLabel('What it is for').fill('the scanner');
    await page.getByLabel('Ends in days').fill('30');
    await page.getByRole('button', { name: 'Make the token' }).click();
    await page.locator('#made').waitFor();
    submitter = await page.locator('#made-token').textContent();
    if (!/^bf_[0-9a-zA-Z_]+$/.test(submitter)) throw new Error(`this is no token: ${submitter}`);
    cli(submitter, 'jobs', 'list');
    await page.locator('#rows').getByText('the scanner').waitFor();
    if (await page.locator('#made-token').textContent() !== submitter) throw new Error('a live update took the token away');
    await page.reload();
    await page.locator('#rows').getByText('the scanner').waitFor();
    if ((await page.content()).includes(submitter)) throw new Error('the token is shown again');

    // What the service refuses is said in its words.
    await page.getByLabel('What it is for').fill('too much');
    await page.getByLabel('Only as this worker').fill('attic');
    await page.getByLabel('admin: everything').check();
    await page.getByRole('button', { name: 'Make the token' }).click();
    await page.getByText('a token of one worker cannot have the scope admin').waitFor();
    if (await page.locator('#made').isVisible()) throw new Error('something was shown that was not made');

    // A worker of its own, whose command starts it as it is.
    await page.goto(`${SERVICE}/workers`);
    await page.getByText('No workers yet').waitFor();
    await page.getByRole('link', { name: 'Add a worker', exact: true }).click();
    await page.getByLabel('Name of the worker').fill('attic');
    await page.getByRole('button', { name: 'Make its token' }).click();
    await page.locator('#made').waitFor();
    const command = await page.locator('[data-variant="linux text"] pre').textContent();
    await page.getByText('A program of yours').click();
    await page.getByText('Linux with a GPU').click();
    await page.locator('[data-variant="gpu program"] pre', { hasText: '--id attic --use-gpu --type book -- pandoc' }).waitFor();
    const bound = command.match(/BLOBFORGE_API_TOKEN=(\S+)/)[1];
    if (!command.includes(`BLOBFORGE_SERVER_URL=${SERVICE}\n`) || !command.endsWith('blobforge worker --id attic')) throw new Error(command);
    const as = async (method, path, body) => {
        const headers = { authorization: `Bearer ${bound}`, 'content-type': 'application/json' };
        const reply = await fetch(SERVICE + path, { method, headers, body: JSON.stringify(body) });
        return { status: reply.status, ...await reply.json() };
    };
    const registration = id => ({ id, type: 'work', protocol: 1, instance: 'of it', labels: { gpu: true }, host: 'attic.home' });
    if ((await as('POST', '/api/workers/register', registration('other'))).status !== 403) throw new Error('it may be anybody');
    await page.goto(`${SERVICE}/workers`);
    await page.evaluate(() => { globalThis.loaded = 'once'; });
    await page.locator('#live-mark[data-state=live]').waitFor();
    if ((await as('POST', '/api/workers/register', registration('attic'))).status !== 200) throw new Error('it may not even be itself');
    const card = page.locator('#worker-attic');
    await card.getByText('ready').waitFor();
    await card.getByText('attic.home').waitFor();

    // Draining reaches it, and is undone.
    await card.getByRole('button', { name: 'Drain' }).click();
    await page.getByText('Worker attic is draining').waitFor();
    await card.getByText('draining', { exact: true }).waitFor();
    if ((await as('POST', '/api/workers/attic/heartbeat', { leases: [] })).drain !== true) throw new Error('it was not told to drain');
    await page.getByRole('button', { name: 'Undo' }).click();
    await card.getByText('ready').waitFor();
    if ((await as('POST', '/api/workers/attic/heartbeat', { leases: [] })).drain !== false) throw new Error('it still drains');

    // A paused type gives out nothing; settings go by the rules of the interface.
    await submit();
    const claim = () => as('POST', '/api/jobs/claim', { worker_id: 'attic', job_type: 'work' });
    await page.goto(`${SERVICE}/admin/types`);
    await page.getByRole('button', { name: 'Pause work' }).click();
    await page.getByText('Type work is paused: what runs goes on').waitFor();
    await page.locator('#type-work').getByText('paused', { exact: true }).waitFor();
    if ((await claim()).job !== null) throw new Error('a paused type gave out a job');
    await page.getByText('Change what holds for it').click();
    const field = label => page.locator('#type-work').getByLabel(label, { exact: true });
    await field('Running at once').fill('2');
    await field('Failed').fill('90');
    await field('So many starts').fill('60');
    await field('In so many seconds').fill('3600');
    await field('First wait, in seconds').fill('5');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('longest_seconds').waitFor();
    await field('Longest wait, in seconds').fill('600');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Type work is changed').waitFor();
    await page.locator('#type-work').getByText('at most 2 running').waitFor();
    const type = await ask('GET', '/api/types/work');
    if (type.limits.running !== 2 || type.limits.starts.count !== 60 || type.retention.failed_seconds !== 90 * 86400 || type.defaults.retry.longest_seconds !== 600 || type.defaults.max_attempts !== null) throw new Error(JSON.stringify(type));
    await ask('PATCH', '/api/types/work', { defaults: { max_attempts: 7 } });
    await field('Running at once').fill('');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.locator('#type-work').getByText('at most 2 running').waitFor({ state: 'detached' });
    const after = await ask('GET', '/api/types/work');
    if (after.limits.running !== null || after.limits.starts.count !== 60 || after.defaults.max_attempts !== 7) throw new Error(JSON.stringify(after));
    await page.getByRole('button', { name: 'Resume work' }).click();
    await page.locator('#type-work').getByText('open', { exact: true }).waitFor();
    const { job, lease } = await claim();
    if (!job) throw new Error('a type that is open gives out nothing');

    // A webhook: its secret once, its deliveries, one of them again.
    await page.goto(`${SERVICE}/admin/webhooks`);
    await page.getByLabel('Address that is told').fill('http://127.0.0.1:9/nobody');
    await page.getByLabel('cancelled').uncheck();
    await page.getByRole('button', { name: 'Make the webhook' }).click();
    await page.locator('#made').waitFor();
    const secret = await page.locator('#made-secret').textContent();
    if (secret.length < 24) throw new Error(`this is no secret: ${secret}`);
    await page.reload();
    await page.locator('#rows').getByText('completed, failed').waitFor();
    if ((await page.content()).includes(secret)) throw new Error('the secret is shown again');
    await as('POST', `/api/jobs/${job.id}/complete`, { lease });
    await page.getByRole('link', { name: 'Deliveries to' }).click();
    await page.waitForFunction(async () => {
        if (document.querySelector('#rows tr')) return true;
        document.dispatchEvent(new Event('blobforge:changed'));
        return false;
    }, undefined, { polling: 500 });
    await page.getByText('retrying').first().waitFor();
    await page.getByRole('button', { name: /Send again/ }).first().click();
    await page.getByText(/Delivery \d+ is sent again/).waitFor();
    await page.getByRole('link', { name: 'All webhooks' }).click();
    await page.getByRole('button', { name: 'Delete the webhook' }).click();
    await page.getByRole('dialog').getByText('its deliveries are forgotten').waitFor();
    await page.locator('dialog [value=yes]').click();
    await page.getByText('Nobody is told yet').waitFor();

    // Who did it all.
    await page.goto(`${SERVICE}/admin/audit`);
    await page.locator('#action').selectOption('type_changed');
    await page.waitForURL('**/admin/audit?action=type_changed');
    await page.locator('#rows tr').first().waitFor();
    const actions = await page.locator('#rows td:nth-child(2)').allTextContents();
    if (actions.length < 4 || actions.some(action => action.trim() !== 'type_changed')) throw new Error(actions.join());
    await page.locator('#search').fill('nobody at all');
    await page.getByText('Nobody did anything like this').waitFor();

    // Sessions of others end.
    await page.goto(`${SERVICE}/admin/users`);
    await page.getByText('the scanner').waitFor();

    // Revoked at once, after a question.
    await page.goto(`${SERVICE}/admin/tokens`);
    await page.getByRole('button', { name: 'Revoke the scanner' }).click();
    await page.getByRole('button', { name: 'Leave it' }).click();
    cli(submitter, 'jobs', 'list');
    await withPage(async other => {
        await other.goto(`${SERVICE}/auth/login`);
        await other.getByLabel('API token').fill(submitter);
        await other.getByRole('button', { name: 'Log in' }).click();
        await other.waitForURL(`${SERVICE}/`);
        if (await other.getByRole('link', { name: 'Admin', exact: true }).count() > 0) throw new Error('the way to the pages for administrators is shown');
        for (const path of ['/admin/tokens', '/admin/users', '/admin/audit', '/admin/types', '/admin/webhooks', '/admin/system', '/workers/add']) {
            const reply = await other.goto(SERVICE + path);
            if (reply.status() !== 403) throw new Error(`${path}: ${reply.status()}`);
            await other.getByRole('heading', { name: 'Forbidden' }).waitFor();
            await other.getByText('this needs the scope admin').waitFor();
        }
        await other.goto(`${SERVICE}/workers`);
        await other.locator('#worker-attic').waitFor();
        if (await other.getByRole('button', { name: 'Drain' }).count() > 0) throw new Error('what may not be done is offered');
        await page.goto(`${SERVICE}/admin/users`);
        await page.getByRole('button', { name: 'End sessions of the scanner' }).click();
        await page.locator('dialog [value=yes]').click();
        await page.getByText('is logged out in 1 browsers').waitFor();
        await other.goto(`${SERVICE}/jobs`);
        await other.waitForURL('**/auth/login**');
    }, { allowed: ['403', '401'] });
    await page.goto(`${SERVICE}/admin/tokens`);
    await page.getByRole('button', { name: 'Revoke the scanner' }).click();
    await page.locator('dialog [value=yes]').click();
    await page.locator('#rows').getByText('the scanner').waitFor({ state: 'detached' });
    if (!refused(submitter)) throw new Error('a revoked token is good');

    // Removed after a question.
    await page.goto(`${SERVICE}/workers`);
    await page.locator('#worker-attic').getByRole('button', { name: 'Remove' }).click();
    await page.getByRole('dialog').getByText('Remove worker attic?').waitFor();
    await page.locator('dialog [value=yes]').click();
    await page.getByText('No workers yet').waitFor();

    await page.goto(`${SERVICE}/admin/system`);
    await page.locator('#setting-BLOBFORGE_PORT').getByText('command line').waitFor();
    await page.locator('#blobs').getByText('reachable', { exact: true }).waitFor();
}, { allowed: ['400'] });
