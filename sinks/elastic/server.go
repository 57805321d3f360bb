package elastic

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/elastic/mapping"
)

// ErrFuture is the error of a layout that is newer than this Weir knows.
var ErrFuture = errors.New("the layout is newer than this Weir")

// server is what the hosts said they are.
type server struct {
	cfg          *Config
	known        bool
	openSearch   bool
	version      string // empty where it does not tell
	major, minor int
}

// recognise asks what the server is, before anything is written.
func (s *server) recognise(ctx context.Context, cl *client) error {
	if s.known {
		return nil
	}
	a, err := cl.do(ctx, request{method: http.MethodGet, path: "/"})
	if err != nil {
		return err
	}
	var info struct {
		Version struct {
			Number, Distribution string
		}
		Tagline string
	}
	elastic := a.product == "Elasticsearch"
	switch err := decode(a, &info); {
	case a.status == http.StatusForbidden && elastic: // whoever asks may not know the version, and yet may write
		s.known, s.openSearch, s.version, s.major, s.minor = true, false, "", 8, 0
		return nil
	case err != nil:
		return err
	}
	s.openSearch = info.Version.Distribution == "opensearch"
	s.version = info.Version.Number
	major, rest, _ := strings.Cut(s.version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	var bad error
	if s.major, bad = strconv.Atoi(major); bad == nil {
		s.minor, bad = strconv.Atoi(minor)
	}
	switch {
	case bad != nil || !s.openSearch && !elastic && !strings.Contains(info.Tagline, "You Know, for Search"):
		return fmt.Errorf("%s is neither Elasticsearch nor OpenSearch: check hosts", a.host)
	case !s.openSearch && (s.major < 7 || s.major == 7 && s.minor < 9):
		return fmt.Errorf("elasticsearch %s has no data streams: use 8 or newer", s.version)
	case s.openSearch && s.major < 2:
		return fmt.Errorf("opensearch %s: use 2 or newer", s.version)
	}
	s.known = true
	return nil
}

// atLeast says whether it is Elasticsearch of that version or newer.
func (s *server) atLeast(major, minor int) bool {
	return !s.openSearch && (s.major > major || s.major == major && s.minor >= minor)
}

func (s *server) name() string {
	if s.openSearch {
		return "OpenSearch " + s.version
	}
	return "Elasticsearch " + s.version
}

// way picks how old documents go.
func (s *server) way(ctx context.Context, cl *client) (string, error) {
	want := s.cfg.RetentionBy
	if want != "auto" {
		if s.openSearch && want != mapping.ByNothing {
			return "", fmt.Errorf("retentionBy: OpenSearch has no %s: set none, and let a policy of its Index State Management delete old indices of %s", want, s.cfg.Index)
		}
		return want, nil
	}
	if s.openSearch {
		return mapping.ByNothing, nil
	}
	if s.atLeast(8, 11) {
		return mapping.ByLifecycle, nil
	}
	return s.ilm(ctx, cl)
}

// ilm asks whether the server has index lifecycle management.
func (s *server) ilm(ctx context.Context, cl *client) (string, error) {
	if s.openSearch {
		return mapping.ByNothing, nil
	}
	err := cl.call(ctx, http.MethodGet, "/_ilm/status", nil, nil)
	if lacks(err) {
		return mapping.ByNothing, nil
	}
	return mapping.ByILM, err
}

// lacks says whether a server does not know what was asked.
func lacks(err error) bool {
	status, _ := statusOf(err)
	return status == http.StatusBadRequest || status == http.StatusNotFound || status == http.StatusMethodNotAllowed
}

// prepare recognises the server and makes sure that the layout fits.
func (s *Sink) prepare(ctx context.Context) error {
	if s.ready {
		return nil
	}
	if err := s.srv.recognise(ctx, &s.cl); err != nil {
		return err
	}
	way, err := s.srv.way(ctx, &s.cl)
	if err == nil && s.enc.elk != "" {
		way, err = s.elkWay(ctx, way)
	}
	if err != nil {
		return err
	}
	l := s.cfg.layout(way, s.srv.atLeast(8, 7))
	if err := s.settle(ctx, &l); err != nil {
		return err
	}
	if err := s.checkMapping(ctx); err != nil {
		return err
	}
	if err := s.renewLifecycle(ctx, &l); err != nil {
		return err
	}
	s.ready = true
	retention := way
	if s.cfg.Retention == 0 {
		retention = mapping.ByNothing
	}
	s.log.Info("connected", "server", s.srv.name(), "index", s.cfg.Index, "retention_by", retention)
	if s.cfg.Retention > 0 && way == mapping.ByNothing {
		s.log.Warn("nothing deletes old documents: the server has no data stream lifecycle and no ILM, or retentionBy is none", "index", s.cfg.Index)
	}
	return nil
}

// settle makes or checks the templates.
func (s *Sink) settle(ctx context.Context, l *mapping.Layout) error {
	name, reqs := l.Index, l.Templates
	if s.enc.elk != "" {
		name, reqs = l.ELKName(), l.ELKTemplates
	}
	have, err := s.layoutThere(ctx, name)
	if err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	if have.Layout > mapping.Latest {
		return fmt.Errorf("%w: %s has version %d and this Weir knows up to %d: run the newer Weir, or write to another index", ErrFuture, name, have.Layout, mapping.Latest)
	}
	if s.cfg.Schema == "check" {
		if have.Layout == 0 {
			return fmt.Errorf("layout: there is no index template %s: set schema: manage, or send the requests of docs/sinks/elasticsearch.md", name)
		}
		return nil
	}
	if have.Fields > flow.NumFields { // of a newer Weir, which this one leaves
		return nil
	}
	for _, r := range reqs() {
		if err := s.cl.call(ctx, http.MethodPut, r.Path, r.Body, nil); err != nil {
			return fmt.Errorf("layout: %s: %w", r.Path, err)
		}
	}
	return nil
}

// layoutThere reads what the index template notes of the Weir that made it.
func (s *Sink) layoutThere(ctx context.Context, name string) (mapping.Meta, error) {
	var got struct {
		Templates []struct {
			Template struct {
				Meta struct {
					Weir mapping.Meta `json:"weir"`
				} `json:"_meta"`
			} `json:"index_template"`
		} `json:"index_templates"`
	}
	err := s.cl.call(ctx, http.MethodGet, "/_index_template/"+name, nil, &got)
	if status, _ := statusOf(err); status == http.StatusNotFound {
		return mapping.Meta{}, nil
	}
	if err != nil || len(got.Templates) == 0 {
		return mapping.Meta{}, err
	}
	return got.Templates[0].Template.Meta.Weir, nil
}

// checkEvery is how often the mapping is read again where documents are refused.
const checkEvery = time.Minute

// checkMapping compares the mapping of the newest backing index with Weir's, and adds what
// it lacks. Before there is a data stream it has nothing to say.
func (s *Sink) checkMapping(ctx context.Context) error {
	if s.enc.elk != "" || s.ready && s.now().Sub(s.checked) < checkEvery {
		return nil
	}
	all, err := s.backings(ctx)
	if status, _ := statusOf(err); status == http.StatusNotFound {
		return nil // the first document makes it
	}
	if err != nil {
		return err
	}
	index := all[len(all)-1].name
	if index == s.cfg.Index {
		return fmt.Errorf("%s is an index and no data stream: write to another index, or delete it", s.cfg.Index)
	}
	var got map[string]struct {
		Mappings properties `json:"mappings"`
	}
	if err := s.cl.call(ctx, http.MethodGet, "/"+index+"/_mapping", nil, &got); err != nil {
		return fmt.Errorf("mapping of %s: %w", index, err)
	}
	have := map[string]string{}
	m := got[index].Mappings
	m.flatten("", have)
	want := mapping.Fields()
	var missing, wrong []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		switch typ := have[name]; {
		case typ == "":
			missing = append(missing, name)
		case typ != want[name]:
			wrong = append(wrong, fmt.Sprintf("%s is %s and has to be %s", name, typ, want[name]))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("mapping conflict in %s: %s: find the template that says so (POST /_index_template/_simulate_index/%s), and roll over when it is gone (POST /%s/_rollover): records wait in the spool",
			index, strings.Join(wrong, "; "), s.cfg.Index, s.cfg.Index)
	}
	if len(missing) > 0 {
		if err := s.addFields(ctx, missing); err != nil {
			return err
		}
	}
	s.checked = s.now()
	return nil
}

func (s *Sink) addFields(ctx context.Context, missing []string) error {
	if s.cfg.Schema == "check" {
		return fmt.Errorf("mapping of %s lacks %s: set schema: manage, or send the requests of docs/sinks/elasticsearch.md", s.cfg.Index, strings.Join(missing, ", "))
	}
	r := mapping.Put("/"+s.cfg.Index+"/_mapping?write_index_only=true", mapping.Mappings())
	if err := s.cl.call(ctx, http.MethodPut, r.Path, r.Body, nil); err != nil {
		return fmt.Errorf("add fields to the mapping of %s: %w", s.cfg.Index, err)
	}
	s.log.Info("fields added to the mapping", "index", s.cfg.Index, "fields", len(missing))
	return nil
}

// properties is a level of a mapping as a server gives it.
type properties struct {
	Type       string                `json:"type"`
	Properties map[string]properties `json:"properties"`
}

func (p *properties) flatten(name string, into map[string]string) {
	for k, sub := range p.Properties {
		full := k
		if name != "" {
			full = name + "." + k
		}
		into[full] = sub.Type
		sub.flatten(full, into)
	}
	if len(p.Properties) > 0 && p.Type == "" && name != "" {
		into[name] = "object"
	}
}

// renewLifecycle sets the retention of a data stream that exists: its template counts only
// when it is made.
func (s *Sink) renewLifecycle(ctx context.Context, l *mapping.Layout) error {
	if l.Way != mapping.ByLifecycle || s.cfg.Schema != "manage" || s.checked.IsZero() {
		return nil
	}
	r := l.Lifecycle()
	err := s.cl.call(ctx, http.MethodPut, r.Path, r.Body, nil)
	if lacks(err) {
		s.log.Warn("the server has no lifecycle for this data stream: its retention stays as it is", "index", s.cfg.Index, "error", err)
		return nil
	}
	return err
}
