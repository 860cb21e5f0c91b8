// Package buildinfo tells which build of Tandem this is. The linker sets the two variables (see the Makefile).
package buildinfo

var (
	// Version is the released version, "dev" for a build by hand.
	Version = "dev"
	// Commit is the abbreviated commit of the build, "unknown" for a build by hand.
	Commit = "unknown"
)

// String is what -version prints after the program's name: "v1.2.3 (abc1234)".
func String() string { return Version + " (" + Commit + ")" }
