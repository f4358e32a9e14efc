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
// The guarded handler learns from [IdentityFrom] whom the request speaks for.
// With [Config.Resource], clients can discover who issues tokens for the API
// (RFC 9728):
//
//	mux.Handle(guard.MetadataPath(), guard.Metadata())
//
// An API that has no access to grantd's store asks grantd instead, or another
// authorization server: see [NewIntrospectionValidator].
//
// Start reading at [Guard.Require]. A request passes four rooms: bearer.go finds
// the token, validator.go or introspection.go judges it, guard.go compares its
// audience and scope, and challenge.go is the only place that says no.
//
// The package links the standard library and grantd's storage interfaces, and
// no database: the store is the caller's choice.
package resource
