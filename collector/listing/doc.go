// Package listing reads lists that change while they are read.
//
// It pages through a list: it decides how far pages overlap, when rows have moved between
// two of them, and when all rows that a list had have been read. A caller provides a
// function that fetches a page.
package listing
