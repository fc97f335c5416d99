package vbawstest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vbaws_exporter/vbaws/vbawstest"
)

// A test has its own clock, puts sessions into an appliance, lets a client read them, and
// changes the list meanwhile.
func Example() {
	clock := vbawstest.NewClock(time.Date(2026, time.March, 1, 22, 0, 0, 0, time.UTC))
	appliance := vbawstest.New(vbawstest.Config{Now: clock.Now, Seed: 1})
	server := vbawstest.NewServer(appliance)
	defer server.Close()

	policy := appliance.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true})
	session := appliance.Start(vbawstest.Session{Type: "Policy", Name: "Nightly", PolicyID: policy.ID})
	clock.Advance(10 * time.Minute)
	appliance.Finish(session.ID, vbawstest.StatusFailed, time.Time{})

	// In a real test, the tested client does this.
	login, _ := http.NewRequest(http.MethodPost, server.URL+"/api/v1/token", strings.NewReader(url.Values{
		"grant_type": {"password"}, "username": {vbawstest.DefaultUsername}, "password": {vbawstest.DefaultPassword},
	}.Encode()))
	login.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var token struct {
		Access string `json:"access_token"`
	}
	do(server, login, &token)
	list, _ := http.NewRequest(http.MethodGet, server.URL+"/api/v1/sessions?Sort=usnDesc&Limit=1", nil)
	list.Header.Set("Authorization", "Bearer "+token.Access)
	var page struct {
		Results []struct{ Status, Name string }
	}
	do(server, list, &page)

	fmt.Println(page.Results[0].Name, page.Results[0].Status)
	fmt.Println(len(appliance.Requests()), "requests,", len(appliance.Violations()), "violations")
	// Output:
	// Nightly Failed
	// 2 requests, 0 violations
}

func do(server *vbawstest.Server, req *http.Request, into any) {
	req.Header.Set("x-api-version", "1.8-rev0")
	resp, err := server.Client().Do(req)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		panic(err)
	}
}
