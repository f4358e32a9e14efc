// openid-client against grantd, as an application uses it: with a single configuration from discovery.
import assert from 'node:assert/strict'
import * as client from 'openid-client'
import { url, odd, step } from './grantd.mjs'

const alice = { username: 'alice', password: 'secret123' }
const me = new URL(url + '/users/me')

// discover configures the client with that id. Plain http is for loopback only.
function discover(id, authentication) {
  return client.discovery(new URL(url), id, undefined, authentication, {
    algorithm: 'oauth2',
    execute: [client.allowInsecureRequests],
  })
}

let demo, api, first, second

await step('discovery, RFC 8414', async () => {
  demo = await discover('demo', client.ClientSecretBasic('demo-secret'))
  api = await discover('demo-api', client.ClientSecretPost('demo-api-secret'))
  const metadata = demo.serverMetadata()
  assert.equal(metadata.issuer, url)
  assert.equal(metadata.token_endpoint, url + '/token')
})

await step('password grant, RFC 6749 section 4.3', async () => {
  first = await client.genericGrantRequest(demo, 'password', { ...alice, scope: 'read write' })
  assert.equal(first.token_type, 'bearer')
  assert.equal(first.scope, 'read write')
  assert.ok(first.expiresIn() > 3000 && first.expiresIn() <= 3600)
  assert.ok(first.refresh_token)
})

await step('client_secret_post, none, and names full of what has to be encoded', async () => {
  const byPost = await discover('demo', client.ClientSecretPost('demo-secret'))
  await client.genericGrantRequest(byPost, 'password', alice)
  const byNone = await discover('demo-public', client.None())
  await client.genericGrantRequest(byNone, 'password', alice)
  for (const authentication of [client.ClientSecretBasic(odd.secret), client.ClientSecretPost(odd.secret)]) {
    const config = await discover(odd.id, authentication)
    await client.genericGrantRequest(config, 'password', { username: odd.user, password: odd.password })
  }
})

await step('protected resource, RFC 6750', async () => {
  const response = await client.fetchProtectedResource(demo, first.access_token, me, 'GET')
  assert.equal((await response.json()).username, 'alice')
})

await step('refresh, RFC 6749 section 6', async () => {
  second = await client.refreshTokenGrant(demo, first.refresh_token, { scope: 'read' })
  assert.notEqual(second.refresh_token, first.refresh_token)
  assert.equal(second.scope, 'read')
})

await step('client credentials, RFC 6749 section 4.4', async () => {
  const token = await client.clientCredentialsGrant(demo, { scope: 'write' })
  assert.equal(token.scope, 'write')
  assert.equal(token.refresh_token, undefined)
})

await step('introspection, RFC 7662', async () => {
  const told = await client.tokenIntrospection(api, second.access_token, { token_type_hint: 'access_token' })
  assert.equal(told.active, true)
  assert.equal(told.username, 'alice')
  assert.equal(told.client_id, 'demo')
  assert.equal(told.iss, url)
})

await step('errors of RFC 6749 section 5.2 have their class and their code', async () => {
  await assert.rejects(client.genericGrantRequest(demo, 'password', { ...alice, password: 'wrong' }), (err) => {
    assert.ok(err instanceof client.ResponseBodyError, err.message)
    assert.equal(err.code, 'OAUTH_RESPONSE_BODY_ERROR')
    assert.equal(err.error, 'invalid_grant')
    assert.equal(err.status, 400)
    return true
  })
  const mistaken = await discover('demo', client.ClientSecretBasic('wrong'))
  await assert.rejects(client.clientCredentialsGrant(mistaken), (err) => {
    assert.ok(err instanceof client.WWWAuthenticateChallengeError, err.message)
    assert.equal(err.code, 'OAUTH_WWW_AUTHENTICATE_CHALLENGE')
    assert.equal(err.cause[0].scheme, 'basic')
    assert.equal(err.status, 401)
    return true
  })
})

await step('revocation, RFC 7009', async () => {
  await client.tokenRevocation(demo, second.access_token, { token_type_hint: 'access_token' })
  assert.deepEqual(await client.tokenIntrospection(api, second.access_token), { active: false })
  await assert.rejects(client.refreshTokenGrant(demo, second.refresh_token), { error: 'invalid_grant' })
})

await step('a revoked token is a challenge for Bearer that names the metadata, RFC 9728 section 5.1', async () => {
  await assert.rejects(client.fetchProtectedResource(demo, second.access_token, me, 'GET'), (err) => {
    assert.ok(err instanceof client.WWWAuthenticateChallengeError, err.message)
    assert.equal(err.cause[0].scheme, 'bearer')
    assert.equal(err.cause[0].parameters.error, 'invalid_token')
    assert.equal(err.cause[0].parameters.resource_metadata, url + '/.well-known/oauth-protected-resource/users/me')
    return true
  })
})
