// Package vbaws is a read-only client of the Veeam Backup for AWS REST API.
//
// It knows the appliance's transport: tokens, the negotiation of an API
// version, paging, retries of single requests, the wire format and its
// errors. It knows nothing of what is done with the answers: no Prometheus, no
// logger, no ledger, no configuration file.
//
// It only ever sends GET, and POST and DELETE to /api/v1/token. Of the private API of the
// web UI it asks GET /api/oauth2/token, without an account, to explain a wrong URL.
package vbaws
