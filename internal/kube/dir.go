package kube

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/limitfile"
)

// maxFile bounds one YAML file, in bytes.
const maxFile = 64 << 20

// settle is how long a directory has to be quiet before it is read again.
const settle = 200 * time.Millisecond

// reread is how often it is read without a notice: some file systems give none.
const reread = 30 * time.Second

// ref names an object within a directory.
type ref struct{ kind, namespace, name string }

// object is one object of a directory: what it says, and where it stands.
type object struct {
	event cluster.Event
	place string
}

// Load reads every .yaml, .yml and .json file of dir, strictly: an unknown field,
// a kind that names no flow, an address that is none, or an object that stands
// there twice is an error that names file, document and field. It returns all
// errors at once.
func Load(dir string) ([]cluster.Event, error) {
	objs, err := load(dir)
	if err != nil {
		return nil, err
	}
	refs := sorted(objs)
	out := make([]cluster.Event, 0, len(refs))
	for _, r := range refs {
		out = append(out, objs[r].event)
	}
	return out, nil
}

func sorted(objs map[ref]object) []ref {
	refs := make([]ref, 0, len(objs))
	for r := range objs {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, func(a, b ref) int {
		return strings.Compare(a.kind+"\x00"+a.namespace+"\x00"+a.name, b.kind+"\x00"+b.namespace+"\x00"+b.name)
	})
	return refs
}

func load(dir string) (map[ref]object, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read directory of manifests: %w", err)
	}
	objs := map[ref]object{}
	var errs []error
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if strings.HasPrefix(e.Name(), ".") || (ext != ".yaml" && ext != ".yml" && ext != ".json") {
			continue
		}
		file := filepath.Join(dir, e.Name())
		if st, err := os.Stat(file); err != nil {
			errs = append(errs, err)
			continue
		} else if st.IsDir() {
			continue
		} else if st.Size() > maxFile {
			errs = append(errs, fmt.Errorf("%s: %d bytes: split it, a file has at most %d", file, st.Size(), maxFile))
			continue
		}
		data, err := limitfile.Read(file, 64<<20)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, loadFile(file, data, objs)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return objs, nil
}

// loadFile reads the documents of one file into objs.
func loadFile(file string, data []byte, objs map[ref]object) []error {
	var errs []error
	r := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for doc := 1; ; doc++ {
		b, err := r.Read()
		if errors.Is(err, io.EOF) {
			return errs
		}
		place := fmt.Sprintf("%s: document %d", file, doc)
		if err != nil {
			return append(errs, fmt.Errorf("%s: %w", place, err))
		}
		if blank(b) {
			continue
		}
		if err := loadDoc(place, b, objs); err != nil {
			errs = append(errs, err)
		}
	}
}

func blank(b []byte) bool {
	for line := range bytes.Lines(b) {
		l := bytes.TrimSpace(line)
		if len(l) > 0 && l[0] != '#' && !bytes.Equal(l, []byte("---")) {
			return false
		}
	}
	return true
}

func loadDoc(place string, b []byte, objs map[ref]object) error {
	var head metav1.TypeMeta
	if err := yaml.Unmarshal(b, &head); err != nil {
		return fmt.Errorf("%s: %w", place, clean(err))
	}
	if head.Kind == "List" {
		var list struct {
			metav1.TypeMeta `json:",inline"`
			Metadata        metav1.ListMeta        `json:"metadata"`
			Items           []runtime.RawExtension `json:"items"`
		}
		if err := yaml.UnmarshalStrict(b, &list); err != nil {
			return fmt.Errorf("%s: %w", place, clean(err))
		}
		for i := range list.Items {
			if err := loadDoc(fmt.Sprintf("%s: items[%d]", place, i), list.Items[i].Raw, objs); err != nil {
				return err
			}
		}
		return nil
	}
	return loadObject(place, head, b, objs)
}

func loadObject(place string, head metav1.TypeMeta, b []byte, objs map[ref]object) error {
	var o metav1.Object
	var bad error
	var e cluster.Event
	read := func(v metav1.Object) bool {
		o = v
		bad = strict(b, v)
		return bad == nil
	}
	switch head.APIVersion + "/" + head.Kind {
	case "v1/Pod":
		if p := new(corev1.Pod); read(p) {
			e.Pod, bad = pod(p), checkPod(p)
		}
	case "v1/Node":
		if n := new(corev1.Node); read(n) {
			e.Node, bad = node(n), checkNode(n)
		}
	case "v1/Service":
		if s := new(corev1.Service); read(s) {
			e.Service, bad = service(s), checkService(s)
		}
	case "v1/Namespace":
		if n := new(corev1.Namespace); read(n) {
			e.Namespace = namespace(n)
		}
	case "discovery.k8s.io/v1/EndpointSlice":
		if s := new(discoveryv1.EndpointSlice); read(s) {
			e.Endpoints, bad = endpoints(s), checkSlice(s)
		}
	case "networking.k8s.io/v1/NetworkPolicy":
		if p := new(networkingv1.NetworkPolicy); read(p) {
			e.NetworkPolicy, bad = networkPolicy(p), checkPolicy(p)
		}
	case "apps/v1/ReplicaSet":
		r := new(metav1.PartialObjectMetadata) // only its owner is of use
		o = r
		if bad = yaml.Unmarshal(b, r); bad == nil {
			e.ReplicaSet = replicaSet(&r.ObjectMeta)
		}
	default:
		return fmt.Errorf("%s: apiVersion %q kind %q names no flow: keep Pod, Node, Service, Namespace (v1), EndpointSlice (discovery.k8s.io/v1), ReplicaSet (apps/v1) and NetworkPolicy (networking.k8s.io/v1) here", place, head.APIVersion, head.Kind)
	}
	name := o.GetName()
	if name != "" {
		place = fmt.Sprintf("%s: %s %s", place, head.Kind, name)
	}
	switch {
	case bad != nil:
		return fmt.Errorf("%s: %w", place, clean(bad))
	case name == "":
		return fmt.Errorf("%s: %s: metadata.name is missing", place, head.Kind)
	case o.GetNamespace() == "" && e.Node == nil && e.Namespace == nil:
		return fmt.Errorf("%s: metadata.namespace is missing: write default if that is meant", place)
	}
	r := ref{head.Kind, o.GetNamespace(), name}
	if first, ok := objs[r]; ok {
		return fmt.Errorf("%s: stands here twice, first in %s", place, first.place)
	}
	objs[r] = object{e, place}
	return nil
}

// strict decodes YAML into v; unknown and repeated fields are errors with their path.
func strict(b []byte, v any) error {
	j, err := yaml.YAMLToJSONStrict(b)
	if err != nil {
		return err
	}
	warnings, err := json.UnmarshalStrict(j, v)
	if err != nil {
		return err
	}
	return errors.Join(warnings...)
}

// clean takes the decoder's own prefixes off an error.
func clean(err error) error {
	s := err.Error()
	for _, p := range []string{"error unmarshaling JSON: ", "while decoding JSON: ", "json: ", "error converting YAML to JSON: ", "yaml: "} {
		s = strings.TrimPrefix(s, p)
	}
	return errors.New(s)
}

// Dir is a directory of YAML files as a source.
type Dir struct {
	*feed
	dir  string
	have map[ref]object
}

var _ Source = (*Dir)(nil)

// FromDir feeds m from the YAML files of dir, and again whenever they change. A
// change with errors is not applied: what was read before stays, and the source is
// stale until the files are right again.
func FromDir(dir string, m *cluster.Model, d Deps) *Dir {
	return &Dir{feed: newFeed("directory "+dir, m, d), dir: dir}
}

// Run implements Source.
func (d *Dir) Run(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", d.dir, err)
	}
	defer func() { _ = w.Close() }()
	if err := w.Add(d.dir); err != nil {
		return fmt.Errorf("watch %s: %w: name the directory that holds the Kubernetes YAML", d.dir, err)
	}
	objs, err := load(d.dir)
	if err != nil {
		return err
	}
	d.swap(objs)
	d.setSynced()
	go d.expireLoop(ctx)

	again := time.NewTicker(reread)
	defer again.Stop()
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return fmt.Errorf("watch %s: the watcher ended", d.dir)
			}
			quiet.Reset(settle)
			continue
		case err := <-w.Errors:
			d.log.Warn("directory watch failed, reading it again", "error", err)
		case <-quiet.C:
		case <-again.C:
		}
		objs, err := load(d.dir)
		d.setStale(err)
		if err == nil {
			d.swap(objs)
		}
	}
}

// swap applies the difference between what was read before and objs.
func (d *Dir) swap(objs map[ref]object) {
	first := d.have == nil
	for _, r := range sorted(d.have) {
		if _, ok := objs[r]; !ok {
			e := d.have[r].event
			e.Delete = true
			d.apply(e)
		}
	}
	for _, r := range sorted(objs) {
		e := objs[r].event
		if first {
			always(&e)
		}
		if old, ok := d.have[r]; ok && reflect.DeepEqual(old.event, objs[r].event) {
			continue
		}
		d.apply(e)
	}
	d.have = objs
}

// always lets objects that say no start hold since ever: the directory that a
// process begins with describes the past as well.
func always(e *cluster.Event) {
	if e.Pod != nil && e.Pod.StartMs == 0 {
		p := *e.Pod
		p.StartMs = 1
		e.Pod = &p
	}
	if e.Node != nil && e.Node.StartMs == 0 {
		n := *e.Node
		n.StartMs = 1
		e.Node = &n
	}
	if e.NetworkPolicy != nil && e.NetworkPolicy.StartMs == 0 {
		p := *e.NetworkPolicy
		p.StartMs = 1
		e.NetworkPolicy = &p
	}
	if e.Service != nil && e.Service.StartMs == 0 {
		s := *e.Service
		s.StartMs = 1
		e.Service = &s
	}
}
