package api

import (
	"bytes"
	_ "embed"
	"net/http"
)

//go:generate go run ../../internal/gen/openapigen openapi.json

// document describes the API: routes, parameters, answers and every field of a record.
//
//go:embed openapi.json
var document []byte

// Document gives the OpenAPI document of the API.
func Document() []byte { return bytes.Clone(document) }

func openapi(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(document) // the client went away
}
