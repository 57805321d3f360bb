package demo

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed manifests
var manifests embed.FS

// The node, pod and Service of the world, as the manifests have them.
type (
	node struct {
		name     string
		addrs    []netip.Addr   // IPv4, IPv6
		podCIDRs []netip.Prefix // IPv4, IPv6
	}
	pod struct {
		name, namespace, app, node string
		host                       bool // hostNetwork
		addrs                      []netip.Addr
	}
	service struct {
		namespace, name, proto string
		port, nodePort         uint16
		vips                   []netip.Addr
		backends               []netip.AddrPort
	}
	world struct {
		nodes    []node
		pods     []pod
		services []service
	}
)

// object is the part of any of the manifests that the world is built from.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		NodeName    string       `json:"nodeName"`
		HostNetwork bool         `json:"hostNetwork"`
		PodCIDRs    []string     `json:"podCIDRs"`
		ClusterIPs  []netip.Addr `json:"clusterIPs"`
		Ports       []port       `json:"ports"`
	} `json:"spec"`
	Status struct {
		Addresses []struct {
			Address netip.Addr `json:"address"`
		} `json:"addresses"`
		PodIPs []struct {
			IP netip.Addr `json:"ip"`
		} `json:"podIPs"`
	} `json:"status"`
	Ports     []port `json:"ports"`
	Endpoints []struct {
		Addresses []netip.Addr `json:"addresses"`
	} `json:"endpoints"`
}

type port struct {
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
	NodePort uint16 `json:"nodePort"`
}

// readWorld reads the embedded manifests.
func readWorld() (*world, error) {
	var slices []object
	w := &world{}
	err := fs.WalkDir(manifests, "manifests", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		raw, err := manifests.ReadFile(path)
		if err != nil {
			return err
		}
		for doc := range strings.SplitSeq(string(raw), "\n---\n") {
			var o object
			if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if o.Kind == "EndpointSlice" {
				slices = append(slices, o)
				continue
			}
			if err := w.add(&o); err != nil {
				return fmt.Errorf("%s: %s %s: %w", path, o.Kind, o.Metadata.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range slices {
		w.addEndpoints(&slices[i])
	}
	return w, nil
}

func (w *world) add(o *object) error {
	switch o.Kind {
	case "Node":
		n := node{name: o.Metadata.Name}
		for _, a := range o.Status.Addresses {
			n.addrs = append(n.addrs, a.Address)
		}
		for _, c := range o.Spec.PodCIDRs {
			p, err := netip.ParsePrefix(c)
			if err != nil {
				return err
			}
			n.podCIDRs = append(n.podCIDRs, p)
		}
		if len(n.addrs) != 2 || len(n.podCIDRs) != 2 {
			return errors.New("needs an IPv4 and an IPv6 address and network")
		}
		w.nodes = append(w.nodes, n)
	case "Pod":
		p := pod{name: o.Metadata.Name, namespace: o.Metadata.Namespace, app: o.Metadata.Labels["app"], node: o.Spec.NodeName, host: o.Spec.HostNetwork}
		for _, a := range o.Status.PodIPs {
			p.addrs = append(p.addrs, a.IP)
		}
		if len(p.addrs) != 2 {
			return errors.New("needs an IPv4 and an IPv6 address")
		}
		w.pods = append(w.pods, p)
	case "Service":
		if len(o.Spec.Ports) != 1 {
			return errors.New("needs one port")
		}
		sp := o.Spec.Ports[0]
		w.services = append(w.services, service{
			namespace: o.Metadata.Namespace, name: o.Metadata.Name, proto: strings.ToLower(sp.Protocol),
			port: sp.Port, nodePort: sp.NodePort, vips: o.Spec.ClusterIPs,
		})
	}
	return nil
}

func (w *world) addEndpoints(o *object) {
	for i := range w.services {
		s := &w.services[i]
		if s.namespace != o.Metadata.Namespace || s.name != o.Metadata.Labels["kubernetes.io/service-name"] {
			continue
		}
		for _, e := range o.Endpoints {
			for _, a := range e.Addresses {
				s.backends = append(s.backends, netip.AddrPortFrom(a, o.Ports[0].Port))
			}
		}
	}
}

// pod finds a pod by its name.
func (w *world) pod(name string) *pod {
	for i := range w.pods {
		if w.pods[i].name == name {
			return &w.pods[i]
		}
	}
	return nil
}

// service finds a Service by its name.
func (w *world) service(name string) *service {
	for i := range w.services {
		if w.services[i].name == name {
			return &w.services[i]
		}
	}
	return nil
}

// writeManifests copies the embedded manifests to dir, for the agents to read.
func writeManifests(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	list, err := manifests.ReadDir("manifests")
	if err != nil {
		return err
	}
	for _, f := range list {
		raw, err := manifests.ReadFile("manifests/" + f.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name()), raw, 0o644); err != nil {
			return err
		}
	}
	return nil
}
