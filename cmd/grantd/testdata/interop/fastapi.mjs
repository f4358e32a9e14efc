// Pages made for FastAPI's OAuth2PasswordRequestForm send these forms; here to grantd dev. A page runs in a
// browser, so fetch stands for it. The forms of Swagger UI are those of version 5.35: it leaves out empty fields of the
// form, and by default puts its client fields into a Basic header, empty or not.
import assert from 'node:assert/strict'
import { url, step } from './grantd.mjs'

const fields = { username: 'alice', password: 'secret123' }
const swagger = { Accept: 'application/json, text/plain, */*', 'X-Requested-With': 'XMLHttpRequest' }

// signIn sends the form and calls the API with the token that comes back, as the tutorial's pages do.
async function signIn(form, headers = {}) {
  const response = await fetch(url + '/token', { method: 'POST', body: new URLSearchParams(form), headers })
  const body = await response.json()
  assert.equal(response.status, 200, JSON.stringify(body))
  assert.equal(body.token_type.toLowerCase(), 'bearer')
  const api = await fetch(url + '/users/me', { headers: { Authorization: 'Bearer ' + body.access_token } })
  const me = await api.json()
  assert.equal(me.username, 'alice')
  return me.client_id
}

await step('a username and a password', async () => {
  assert.equal(await signIn(fields), 'demo-public')
})

await step('every field of the form, most of them empty', async () => {
  const empty = { scope: '', client_id: '', client_secret: '' }
  assert.equal(await signIn({ grant_type: '', ...fields, ...empty }), 'demo-public')
  assert.equal(await signIn({ grant_type: 'password', ...fields, ...empty }), 'demo-public')
})

await step('Swagger UI with no client', async () => {
  const form = { grant_type: 'password', ...fields }
  assert.equal(await signIn(form, { ...swagger, Authorization: 'Basic ' + btoa(':') }), 'demo-public')
  assert.equal(await signIn(form, swagger), 'demo-public') // "Request body" chosen
})

await step('Swagger UI with a client and scopes', async () => {
  const form = { grant_type: 'password', scope: 'read write', ...fields }
  assert.equal(await signIn(form, { ...swagger, Authorization: 'Basic ' + btoa('demo:demo-secret') }), 'demo')
  assert.equal(await signIn({ ...form, client_id: 'demo', client_secret: 'demo-secret' }, swagger), 'demo')
})

await step('a wrong password is a 400 with a text to show', async () => {
  const body = new URLSearchParams({ ...fields, password: 'wrong' })
  const response = await fetch(url + '/token', { method: 'POST', body })
  assert.equal(response.status, 400)
  const failure = await response.json()
  assert.equal(failure.error, 'invalid_grant')
  assert.ok(failure.error_description)
})
