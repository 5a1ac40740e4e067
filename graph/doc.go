// Package graph is the GraphQL API over HTTP and WebSocket. Commands go from here to the services behind its ports;
// queries go to a database client that sees one tenant only; subscriptions turn changes from the bus into snapshots
// and deltas. It knows no SQL, no object store, no media, and nothing of how a command is carried out.
//
// Every root field names the roles that may use it (@can); one that does not is refused. Whatever an error says inside
// the house, the outside gets a code and a sentence from one table (errors.go), or "internal error" and a request id.
package graph
