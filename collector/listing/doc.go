// Package listing reads lists that change while they are read.
//
// It knows how to page through a list: how far pages overlap, when rows have moved
// between two of them, and when all rows that a list had have been read. It knows
// neither what the rows mean nor who asks; a caller provides a function that fetches
// a page.
package listing
