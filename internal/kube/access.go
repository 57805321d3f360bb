package kube

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// What a caller of the aggregator's API needs a right to: get on flows.weir.dev, in all
// namespaces or in some. No such resource has to be served for RBAC to grant it.
const (
	FlowsGroup    = "weir.dev"
	FlowsResource = "flows"
	FlowsVerb     = "get"
)

// AccessRules are the rights that an Access needs.
func AccessRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}},
		{APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"subjectaccessreviews"}, Verbs: []string{"create"}},
	}
}

// Holder is whose a token is, and where he may see flows.
type Holder struct {
	Name       string
	All        bool
	Namespaces []string // where not All: those of the cluster in which he may, sorted
	Unasked    int      // namespaces beyond those that were asked about
}

// The bounds of an Access.
const (
	goodFor       = time.Minute      // how long an answer is believed
	badFor        = 10 * time.Second // and a refusal
	maxTokens     = 1024             // answers kept
	maxNamespaces = 1000             // asked about for one token
	reviewsAtOnce = 16
)

// Access answers whose a bearer token is by TokenReview and what he may see by
// SubjectAccessReview. It believes an answer for a minute, a refusal for ten seconds.
type Access struct {
	client     kubernetes.Interface
	namespaces func() []string // of the cluster
	now        func() time.Time

	mu   sync.Mutex
	kept map[[sha256.Size]byte]kept
}

type kept struct {
	holder *Holder
	until  time.Time
}

// Access asks the API server of a about the callers' tokens.
func (a *API) Access(namespaces func() []string) *Access {
	return &Access{client: a.access, namespaces: namespaces, now: time.Now, kept: map[[sha256.Size]byte]kept{}}
}

// Review says whose a token is; nil for nobody's, or of one who may see nothing.
func (a *Access) Review(ctx context.Context, token string) (*Holder, error) {
	k := sha256.Sum256([]byte(token))
	now := a.now()
	a.mu.Lock()
	old, ok := a.kept[k]
	a.mu.Unlock()
	if ok && now.Before(old.until) {
		return old.holder, nil
	}
	h, err := a.ask(ctx, token)
	if err != nil {
		return nil, err
	}
	until := now.Add(goodFor)
	if h == nil {
		until = now.Add(badFor)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.kept) >= maxTokens {
		for k, x := range a.kept {
			if !now.Before(x.until) || len(a.kept) >= maxTokens {
				delete(a.kept, k) // any: it is asked about again
			}
		}
	}
	a.kept[k] = kept{h, until}
	return h, nil
}

func (a *Access) ask(ctx context.Context, token string) (*Holder, error) {
	tr, err := a.client.AuthenticationV1().TokenReviews().Create(ctx, &authnv1.TokenReview{Spec: authnv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("TokenReview: %w", err)
	}
	if !tr.Status.Authenticated {
		return nil, nil
	}
	u := &tr.Status.User
	h := &Holder{Name: u.Username}
	if h.All, err = a.may(ctx, u, ""); err != nil || h.All {
		return h, err
	}
	list := a.namespaces()
	if len(list) > maxNamespaces {
		h.Unasked = len(list) - maxNamespaces
		list = list[:maxNamespaces]
	}
	if h.Namespaces, err = a.which(ctx, u, list); err != nil {
		return nil, err
	}
	if len(h.Namespaces) == 0 {
		return nil, nil
	}
	return h, nil
}

// which gives the namespaces of list in which u may see flows.
func (a *Access) which(ctx context.Context, u *authnv1.UserInfo, list []string) ([]string, error) {
	var mu sync.Mutex
	var out []string
	var errs error
	var wg sync.WaitGroup
	work := make(chan string)
	for range min(reviewsAtOnce, len(list)) {
		wg.Go(func() {
			for ns := range work {
				ok, err := a.may(ctx, u, ns)
				mu.Lock()
				if ok {
					out = append(out, ns)
				}
				if err != nil && errs == nil {
					errs = err
				}
				mu.Unlock()
			}
		})
	}
	for _, ns := range list {
		work <- ns
	}
	close(work)
	wg.Wait()
	slices.Sort(out)
	return out, errs
}

// may asks whether u may see the flows of a namespace, "" for all.
func (a *Access) may(ctx context.Context, u *authnv1.UserInfo, namespace string) (bool, error) {
	extra := map[string]authzv1.ExtraValue{}
	for k, v := range u.Extra {
		extra[k] = authzv1.ExtraValue(v)
	}
	sar, err := a.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authzv1.SubjectAccessReview{Spec: authzv1.SubjectAccessReviewSpec{
		User: u.Username, UID: u.UID, Groups: u.Groups, Extra: extra,
		ResourceAttributes: &authzv1.ResourceAttributes{Namespace: namespace, Verb: FlowsVerb, Group: FlowsGroup, Resource: FlowsResource},
	}}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("SubjectAccessReview: %w", err)
	}
	return sar.Status.Allowed, nil
}
