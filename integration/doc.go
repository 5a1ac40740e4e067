// Package integration holds the black-box tests: they compile the program, run it as an operator would, play captured
// calls to it as an SFU would, and judge what comes out with FFmpeg and a real browser. It imports no package of the
// project but its own helpers. README.md tells how to run one test by hand.
package integration
