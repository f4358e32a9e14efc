// Package resource guards an HTTP API with the access tokens that grantd
// issues, as RFC 6750 wants it:
//
//	guard, err := resource.New(resource.Config{
//		Validator: resource.NewStoreValidator(keys, store),
//		Realm:     "orders",
//		Resource:  "https://orders.example.com",
//	})
//	mux.Handle("GET /orders", guard.Require("read")(orders))
//
// The guarded handler calls [IdentityFrom] to learn who made the request. With
// [Config.Resource] set, clients can discover which server issues tokens for
// the API (RFC 9728):
//
//	mux.Handle(guard.MetadataPath(), guard.Metadata())
//
// An API that has no access to grantd's store can ask grantd, or another
// authorization server, over HTTP: see [NewIntrospectionValidator].
//
// Start reading at [Guard.Require]. A request passes four files: bearer.go
// finds the token, validator.go or introspection.go validates it, guard.go
// checks its audience and scope, and challenge.go writes every refusal.
//
// The package links the standard library and grantd's storage interfaces, but
// no database: the caller chooses the store.
package resource
