// Package auth says who calls and what they may do: principals, roles, the table of what each role may do, API keys
// (docs/formats/credentials.md), and the middleware that turns a request's credential into a principal.
//
// It does not know where keys are stored, how user tokens are signed (auth/usertoken), or what the operations do.
package auth
