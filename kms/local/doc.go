// Package local keeps key-encryption keys in a file: the provider that needs no server.
//
// One keyring file holds one KEK per tenant, made when the tenant first needs it, with all its earlier versions. The file is
// worth as much as every recording wrapped by it: back it up apart from the recordings, and restrict who can read it.
//
// Wrapping is AES-256-GCM of crypto/cipher with the wrap context as additional data. gocloud.dev/secrets/localsecrets was the
// library at hand, but its interface has no additional data, so a wrapped key could be moved to another tenant or recording unnoticed.
//
// The package knows nothing of recordings, and it never prints a key.
package local
