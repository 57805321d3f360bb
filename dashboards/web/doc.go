// Package web holds the page that the aggregator serves: the built files, and how
// they are sent.
//
// Idea: the page is a static program that asks the aggregator's API and nobody
// else. Its source (TypeScript, Preact) stands beside this file; what is embedded is
// the committed build in dist, so that `go install` needs no other tool, and CI proves
// that it is what the source builds.
//
// In: dist. Out: an http.Handler with a strict Content-Security-Policy. It knows no
// flow and asks for no token: the files tell nothing. If it dies, the API and weirctl
// answer as before.
package web
