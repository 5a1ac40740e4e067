// Package playback lets recordings be watched and nothing else: it grants access to one asset of one recording, signs
// short-lived URLs (docs/formats/signed-url.md), checks them, and serves the decrypted bytes with HTTP ranges.
//
// It does not know where grants and objects are kept, how keys are unwrapped, who may ask for a grant (the caller
// has decided that), or what GraphQL is. Those are ports, declared here and implemented elsewhere.
//
// # Order
//
// The grant's row is durable before its URL exists. The first view is in the audit log before the first byte leaves.
package playback
