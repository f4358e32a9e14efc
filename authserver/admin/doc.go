// Package admin is the JSON API to administer grantd: users, clients, grants,
// keys and the audit trail. Start with [New] and [API.Handler]; routes.go has
// the table of all routes.
//
// The API doesn't know who may use it. Its caller guards it with
// [Config.Guard], and tells it with [Config.Actor] who is acting. So the same
// handler serves the network behind bearer tokens, and the command line on the
// store itself.
//
// Errors are problem details (RFC 9457), all written in problem.go. Every
// change goes through [API.act], which writes the change to the audit trail
// first, and doesn't make it if that fails.
package admin
