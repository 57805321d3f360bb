package demo

func makeCerts(*world) error { return nil }
