// Package pcre matches Perl compatible regular expressions on bytes, for the
// patterns that RE2 has no words for: lookahead and lookbehind, backreferences,
// atomic groups and possessive quantifiers, \K, branch reset, and $ before a
// final newline.
//
// A pattern becomes a program (parse.go, program.go) for a backtracking machine
// (match.go) whose stack is a slice: matching never recurses by the subject's
// length, starts no goroutine, and takes no more steps than its caller allows.
//
// It imports nothing of the project. Bytes are characters: there is no UTF mode,
// and case folding is that of ASCII, as PCRE's in the C locale.
//
// Not emulated, and refused by name: recursion, subroutine calls, conditional
// groups, callouts, verbs such as (*SKIP), and \X.
package pcre
