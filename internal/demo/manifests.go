package demo

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

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
		ports                      []uint16 // TCP ports of its containers
	}
	service struct {
		namespace, name, proto string
		port, nodePort         uint16
		vips                   []netip.Addr
		backends               []netip.AddrPort
	}
	// policy is a NetworkPolicy with rules for what comes in.
	policy struct {
		namespace, name string
		pods            selector
		rules           []policyRule
	}
	world struct {
		nodes    []node
		pods     []pod
		services []service
		policies []policy
		staged   bool // it is the world after the incident
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
		NodeName    string   `json:"nodeName"`
		HostNetwork bool     `json:"hostNetwork"`
		PodCIDRs    []string `json:"podCIDRs"`
		Containers  []struct {
			Ports []struct {
				ContainerPort uint16 `json:"containerPort"`
			} `json:"ports"`
		} `json:"containers"`
		PodSelector selector     `json:"podSelector"`
		Ingress     []policyRule `json:"ingress"`
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

type selector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

type policyRule struct {
	From []struct {
		Namespaces *selector `json:"namespaceSelector"`
		Pods       *selector `json:"podSelector"`
	} `json:"from"`
	Ports []struct {
		Port uint16 `json:"port"`
	} `json:"ports"`
}

// texts are the embedded manifests by the name of their file, before the incident
// or after it.
func texts(staged bool) (map[string][]byte, error) {
	list := map[string][]byte{}
	dirs := []string{"manifests"}
	if staged {
		dirs = append(dirs, "manifests/incident")
	}
	for _, dir := range dirs {
		files, err := fs.Glob(manifests, dir+"/*.yaml")
		if err != nil {
			return nil, err
		}
		for _, path := range files {
			raw, err := manifests.ReadFile(path)
			if err != nil {
				return nil, err
			}
			list[filepath.Base(path)] = raw
		}
	}
	return list, nil
}

// readWorld reads the embedded manifests, before the incident or after it.
func readWorld(staged bool) (*world, error) {
	files, err := texts(staged)
	if err != nil {
		return nil, err
	}
	var endpoints []object
	w := &world{staged: staged}
	for _, name := range sortedNames(files) {
		for doc := range strings.SplitSeq(string(files[name]), "\n---\n") {
			var o object
			if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if o.Kind == "EndpointSlice" {
				endpoints = append(endpoints, o)
				continue
			}
			if err := w.add(&o); err != nil {
				return nil, fmt.Errorf("%s: %s %s: %w", name, o.Kind, o.Metadata.Name, err)
			}
		}
	}
	for i := range endpoints {
		w.addEndpoints(&endpoints[i])
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
		for _, c := range o.Spec.Containers {
			for _, l := range c.Ports {
				p.ports = append(p.ports, l.ContainerPort)
			}
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
	case "NetworkPolicy":
		w.policies = append(w.policies, policy{o.Metadata.Namespace, o.Metadata.Name, o.Spec.PodSelector, o.Spec.Ingress})
	}
	return nil
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

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

// proposedFile is a policy that is not in force, for whoever asks what it would do.
const proposedFile = runDir + "/api-access.yaml"

func writeProposed() error {
	raw, err := manifests.ReadFile("manifests/proposed/api-access.yaml")
	if err != nil {
		return err
	}
	return os.WriteFile(proposedFile, raw, 0o644)
}

// writeManifests writes the embedded manifests to dir, for the daemons to read: each
// file appears whole.
func writeManifests(dir string, staged bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	files, err := texts(staged)
	if err != nil {
		return err
	}
	for _, name := range sortedNames(files) {
		raw, path := files[name], filepath.Join(dir, name)
		if staged && name == "payments.yaml" { // its pod starts now
			raw = bytes.ReplaceAll(raw, []byte("2026-01-01T00:00:00Z"), []byte(time.Now().UTC().Format(time.RFC3339)))
		}
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, raw) {
			continue
		}
		hidden := filepath.Join(dir, "."+name)
		if err := os.WriteFile(hidden, raw, 0o644); err != nil {
			return err
		}
		if err := os.Rename(hidden, path); err != nil {
			return err
		}
	}
	return nil
}
