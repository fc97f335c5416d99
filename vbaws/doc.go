// Package vbaws is a read-only client of the Veeam Backup for AWS REST API.
//
// It implements tokens, the negotiation of an API version, paging, retries of single
// requests, the wire format and its errors. It doesn't depend on Prometheus, a logger, the
// ledger or the configuration file.
//
// It sends only GET, and POST and DELETE to /api/v1/token. To explain a wrong URL it sends
// GET /api/oauth2/token, of the private API of the web UI, without an account.
package vbaws
