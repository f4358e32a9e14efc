// oauth4webapi against grantd: every request for which the library has a function and grantd an endpoint.
import assert from 'node:assert/strict'
import * as oauth from 'oauth4webapi'
import { url, odd, step } from './grantd.mjs'

const insecure = { [oauth.allowInsecureRequests]: true } // plain http, on loopback
const demo = { client_id: 'demo' }
const demoAuth = oauth.ClientSecretBasic('demo-secret')
const api = { client_id: 'demo-api' }
const apiAuth = oauth.ClientSecretBasic('demo-api-secret')
const alice = { username: 'alice', password: 'secret123' }
const me = new URL(url + '/users/me')
let as, first, second

async function passwordGrant(client, auth, parameters) {
  const response = await oauth.genericTokenEndpointRequest(as, client, auth, 'password', parameters, insecure)
  return oauth.processGenericTokenEndpointResponse(as, client, response)
}

async function introspect(token) {
  const response = await oauth.introspectionRequest(as, api, apiAuth, token, insecure)
  return oauth.processIntrospectionResponse(as, api, response)
}

// challengeOf returns the single challenge of a 401, and the body.
async function challengeOf(call, scheme) {
  const err = await call.then(() => assert.fail('no error'), (err) => err)
  assert.equal(err.code, oauth.WWW_AUTHENTICATE_CHALLENGE, err)
  assert.equal(err.status, 401)
  assert.deepEqual(err.cause.map((challenge) => challenge.scheme), [scheme])
  return { parameters: err.cause[0].parameters, body: await err.response.json() }
}

await step('discovery, RFC 8414', async () => {
  const issuer = new URL(url)
  const response = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
  as = await oauth.processDiscoveryResponse(issuer, response)
  assert.equal(as.issuer, url)
  assert.equal(as.token_endpoint, url + '/token')
  assert.equal(as.revocation_endpoint, url + '/revoke')
  assert.equal(as.introspection_endpoint, url + '/introspect')
  for (const grant of ['password', 'refresh_token', 'client_credentials']) {
    assert.ok(as.grant_types_supported.includes(grant), grant)
  }
})

await step('password grant, RFC 6749 section 4.3', async () => {
  first = await passwordGrant(demo, demoAuth, { ...alice, scope: 'read write' })
  assert.equal(first.token_type, 'bearer')
  assert.equal(first.expires_in, 3600)
  assert.equal(first.scope, 'read write')
  assert.ok(first.refresh_token)
})

await step('client_secret_post, none, and names full of what has to be encoded', async () => {
  await passwordGrant(demo, oauth.ClientSecretPost('demo-secret'), alice)
  await passwordGrant({ client_id: 'demo-public' }, oauth.None(), alice)
  const zoe = { username: odd.user, password: odd.password }
  await passwordGrant({ client_id: odd.id }, oauth.ClientSecretBasic(odd.secret), zoe)
  await passwordGrant({ client_id: odd.id }, oauth.ClientSecretPost(odd.secret), zoe)
})

await step('protected resource, RFC 6750', async () => {
  const response = await oauth.protectedResourceRequest(first.access_token, 'GET', me, undefined, undefined, insecure)
  const body = await response.json()
  assert.equal(body.username, 'alice')
  assert.equal(body.client_id, 'demo')
})

await step('refresh, RFC 6749 section 6', async () => {
  const response = await oauth.refreshTokenGrantRequest(as, demo, demoAuth, first.refresh_token, {
    additionalParameters: { scope: 'read' },
    ...insecure,
  })
  second = await oauth.processRefreshTokenResponse(as, demo, response)
  assert.notEqual(second.access_token, first.access_token)
  assert.notEqual(second.refresh_token, first.refresh_token)
  assert.equal(second.scope, 'read')
})

await step('client credentials, RFC 6749 section 4.4', async () => {
  const response = await oauth.clientCredentialsGrantRequest(as, demo, demoAuth, { scope: 'write' }, insecure)
  const token = await oauth.processClientCredentialsResponse(as, demo, response)
  assert.equal(token.scope, 'write')
  assert.equal(token.refresh_token, undefined) // RFC 6749 section 4.4.3
})

await step('introspection, RFC 7662', async () => {
  const told = await introspect(second.access_token)
  assert.equal(told.active, true)
  assert.equal(told.username, 'alice')
  assert.equal(told.client_id, 'demo')
  assert.equal(told.scope, 'read')
  assert.equal(told.iss, as.issuer)
  assert.ok(told.exp > told.iat)
})

await step('resource indicators, RFC 8707', async () => {
  const token = await passwordGrant(demo, demoAuth, { ...alice, resource: me.href })
  assert.equal((await introspect(token.access_token)).aud, me.href)
  await assert.rejects(passwordGrant(demo, demoAuth, { ...alice, resource: 'https://other.example' }), {
    code: oauth.RESPONSE_BODY_ERROR,
    error: 'invalid_target',
  })
})

await step('errors of RFC 6749 section 5.2 are a ResponseBodyError with their code', async () => {
  const failed = { name: 'ResponseBodyError', code: oauth.RESPONSE_BODY_ERROR, status: 400 }
  const wants = (error) => (err) => {
    assert.deepEqual({ name: err.name, code: err.code, status: err.status }, failed, err.message)
    assert.equal(err.error, error)
    assert.ok(err.error_description)
    return true
  }
  await assert.rejects(passwordGrant(demo, demoAuth, { ...alice, password: 'wrong' }), wants('invalid_grant'))
  await assert.rejects(passwordGrant(demo, demoAuth, { ...alice, scope: 'nosuch' }), wants('invalid_scope'))
  await assert.rejects(passwordGrant(demo, demoAuth, { username: 'alice' }), wants('invalid_request'))
  await assert.rejects(
    passwordGrant({ client_id: 'demo-admin' }, oauth.ClientSecretBasic('demo-admin-secret'), alice),
    wants('unauthorized_client'),
  )
  const response = await oauth.genericTokenEndpointRequest(as, demo, demoAuth, 'urn:example:nosuch', {}, insecure)
  await assert.rejects(oauth.processGenericTokenEndpointResponse(as, demo, response), wants('unsupported_grant_type'))
})

await step('a wrong client secret is a challenge for Basic, RFC 6749 section 5.2', async () => {
  const call = passwordGrant(demo, oauth.ClientSecretBasic('wrong'), alice)
  const { parameters, body } = await challengeOf(call, 'basic')
  assert.ok(parameters.realm)
  assert.equal(body.error, 'invalid_client')
})

await step('revocation, RFC 7009', async () => {
  for (const token of [second.refresh_token, 'made-up']) {
    const response = await oauth.revocationRequest(as, demo, demoAuth, token, insecure)
    assert.equal(await oauth.processRevocationResponse(response), undefined)
  }
  assert.deepEqual(await introspect(second.access_token), { active: false })
})

await step('a revoked token is a challenge for Bearer, RFC 6750 section 3, that leads to the server, RFC 9728', async () => {
  const call = oauth.protectedResourceRequest(second.access_token, 'GET', me, undefined, undefined, insecure)
  const { parameters } = await challengeOf(call, 'bearer')
  assert.ok(parameters.realm)
  assert.equal(parameters.error, 'invalid_token')
  assert.ok(parameters.error_description)

  const response = await oauth.resourceDiscoveryRequest(me, insecure)
  assert.equal(response.url, parameters.resource_metadata)
  const resource = await oauth.processResourceDiscoveryResponse(me, response)
  assert.equal(resource.resource, me.href)
  assert.deepEqual(resource.authorization_servers, [as.issuer])
})
