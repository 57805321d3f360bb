// Package version tells what a binary was built from. In: the linker's
// -X main.version and the build info that the go command leaves in every binary.
// Out: one Info. It holds no state.
package version

import (
	"runtime"
	"runtime/debug"
)

// Info is what `version`, /version and weir_build_info print.
type Info struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Get fills an Info; linked is main.version, empty where the binary was built
// without the Makefile.
func Get(linked string) Info {
	i := Info{Version: linked, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	b, ok := debug.ReadBuildInfo()
	if !ok {
		b = &debug.BuildInfo{}
	}
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Revision = s.Value
		case "vcs.time":
			i.Time = s.Value
		case "vcs.modified":
			i.Modified = s.Value == "true"
		}
	}
	if i.Version == "" {
		i.Version = "dev"
	}
	return i
}

// String is the one line of `version`.
func (i Info) String() string {
	s := i.Version
	if i.Revision != "" {
		s += " " + i.Revision
		if i.Modified {
			s += "+modified"
		}
	}
	return s + " " + i.Go + " " + i.Platform
}
