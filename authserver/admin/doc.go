// Package admin is the JSON API that grantd is run with: users, clients, and who
// holds access. Start with [New] and [API.Handler]; routes.go is the table of
// everything that it answers.
//
// It doesn't know who may use it: whoever serves it guards it, and tells it in
// [Config.Actor] who is acting. So the same handler serves the network behind
// bearer tokens and the command line on the store itself.
//
// Errors are problem details (RFC 9457), all written in problem.go. An act that
// changes something goes through [API.act]: it is told to the audit before it is
// done, and isn't done when that fails.
package admin
