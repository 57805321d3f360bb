package flow_test

import "testing"

func newRowIPFIX(*testing.T, string) {}
