// An OpenID provider. Whoever comes is taken for the one that `login_hint` or the cookie `who` names, and nobody is asked for
// consent. What a test sends to /tests changes who is in which groups, changes the keys, or has the provider lie. Its first
// line says where it is.
import http from 'node:http';
import { decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import Provider from 'oidc-provider';

const { PORT, SERVICE, SECRET, ID_TOKEN_CLAIMS } = process.env;
const person = (name, groups, isVerified = true) => ({ name, email: `${name.toLowerCase()}@example.test`, email_verified: isVerified, groups });
const people = {
    ann: person('Ann', ['dev', 'forge-admins']),
    bob: person('Bob', ['forge-users']),
    eve: person('Eve', ['others'], false),
    tom: person('Tom', 'forge-users,forge-admins'),
};
let lie = null;
let own;
// Nobody reads more than the first line.
console.info = console.error;

// There are two kinds of providers, which differ in everything that a client has to put up with.
const [ALGORITHM, METHOD] = ID_TOKEN_CLAIMS === 'all' ? ['ES256', 'client_secret_post'] : ['RS256', 'client_secret_basic'];
const newKey = () => generateKeyPair(ALGORITHM, { extractable: true });

/// A provider with a key of its own, as what answers requests.
async function provider(issuer) {
    own = await newKey();
    const { privateKey } = own;
    const provider = new Provider(issuer, {
        clients: [{
            client_id: 'blobforge', client_secret: SECRET, redirect_uris: [`${SERVICE}/auth/callback`],
            post_logout_redirect_uris: [`${SERVICE}/auth/login`], grant_types: ['authorization_code'], response_types: ['code'],
            token_endpoint_auth_method: METHOD, id_token_signed_response_alg: ALGORITHM,
        }],
        clientAuthMethods: [METHOD],
        cookies: { keys: ['tests'] },
        jwks: { keys: [{ ...await exportJWK(privateKey), use: 'sig', alg: ALGORITHM, kid: crypto.randomUUID() }] },
        claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
        conformIdTokenClaims: ID_TOKEN_CLAIMS !== 'all',
        enabledJWA: { idTokenSigningAlgValues: [ALGORITHM, 'HS256'] },
        pkce: { required: () => true },
        features: { devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: true, logoutSource } },
        findAccount: (_, id) => people[id] && { accountId: id, claims: async () => ({ sub: id, ...people[id] }) },
        ttl: { AccessToken: 300, IdToken: 300, Interaction: 300, Session: 3600, Grant: 3600 },
        interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    });
    const serve = provider.callback();
    return (request, response) => request.url.startsWith('/interaction/') ? interact(provider, request, response) : serve(request, response);
}

async function logoutSource(ctx, form) {
    ctx.body = `<!doctype html><title>Leave</title>${form}<button form="op.logoutForm" name="logout" value="yes">Leave</button>`;
}

async function interact(provider, request, response) {
    const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
    const done = result => provider.interactionFinished(request, response, result, { mergeWithLastSubmission: prompt.name !== 'login' });
    if (prompt.name === 'login') {
        const who = params.login_hint ?? /(?:^|; )who=(\w+)/.exec(request.headers.cookie ?? '')?.[1];
        return done(people[who] ? { login: { accountId: who } } : { error: 'access_denied', error_description: 'nobody <b>knows</b> you' });
    }
    const grant = grantId ? await provider.Grant.find(grantId)
        : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    grant.addOIDCScope((prompt.details.missingOIDCScope ?? []).join(' '));
    if (prompt.details.missingOIDCClaims) grant.addOIDCClaims(prompt.details.missingOIDCClaims);
    return done({ consent: { grantId: await grant.save() } });
}

const seconds = () => Math.floor(Date.now() / 1000);
/// What ID tokens say that nobody may believe, although the provider itself has signed them.
const untrue = {
    'other audience': () => ({ aud: 'another' }),
    'other issuer': () => ({ iss: 'https://other.example.test' }),
    'expired': () => ({ iat: seconds() - 600, exp: seconds() - 120 }),
    'from the future': () => ({ iat: seconds() + 3600, exp: seconds() + 7200 }),
    'later': () => ({ nbf: seconds() + 3600 }),
    'other client': () => ({ azp: 'another' }),
    'long subject': () => ({ sub: 'x'.repeat(256) }),
};

/// Another ID token: of other claims, or signed by somebody else, under the same name or another one.
async function lied(token) {
    const claims = { ...decodeJwt(token), ...untrue[lie]?.() };
    if (lie === 'unsigned') return new UnsecuredJWT(claims).encode();
    const header = decodeProtectedHeader(token);
    if (lie === 'signed with the secret') {
        return new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(SECRET));
    }
    if (lie === 'unknown key') header.kid = crypto.randomUUID();
    const key = lie in untrue ? own.privateKey : (await newKey()).privateKey;
    return new SignJWT(claims).setProtectedHeader(header).sign(key);
}

/// Puts another text into an answer.
function change(response, changed) {
    const end = response.end.bind(response);
    response.end = async text => {
        const body = JSON.stringify(await changed(JSON.parse(text)));
        response.setHeader('content-length', Buffer.byteLength(body));
        end(body);
    };
}

/// Answers at the token endpoint as no provider should; whether that was all.
function misbehaves(response) {
    if (lie === 'failing') response.writeHead(503).end();
    else if (lie === 'redirecting') response.writeHead(307, { location: `${issuer}/token` }).end();
    else if (lie === 'huge') response.writeHead(200, { 'content-type': 'application/json' }).end(' '.repeat(2 << 20));
    else return false;
    return true;
}

async function told(request, response) {
    const wish = JSON.parse(Buffer.concat(await request.toArray()));
    for (const [who, groups] of Object.entries(wish.groups ?? {})) people[who].groups = groups;
    if ('lie' in wish) lie = wish.lie;
    if (wish.newKeys) answer = await provider(issuer);
    response.end();
}

const server = http.createServer();
await new Promise(listening => server.listen(Number(PORT), '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
let answer = await provider(issuer);
server.on('request', async (request, response) => {
    try {
        if (request.url === '/tests') return await told(request, response);
        // Browsers ask every site for it, and complain.
        if (request.url === '/favicon.ico') return response.writeHead(204).end();
        if (request.url === '/token' && misbehaves(response)) return;
        if (request.url === '/token' && lie && lie !== 'other person') {
            change(response, async answer => ({ ...answer, id_token: await lied(answer.id_token) }));
        }
        if (request.url === '/me' && lie === 'other person') change(response, answer => ({ ...answer, sub: 'ann' }));
        await answer(request, response);
    } catch (error) {
        console.error(error);
        if (!response.headersSent) response.writeHead(500).end();
    }
});
console.log(issuer);
