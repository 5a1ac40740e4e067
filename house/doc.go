// Package house holds the tests of the tree's own order: which package may import which, and why. It has no code.
//
// The same rules stand in .golangci.yml for the editor; here they look at everything a core depends on, not only at
// what it names itself, and they run with the other tests.
package house
