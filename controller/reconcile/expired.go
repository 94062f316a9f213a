package reconcile

import (
	"fmt"
	"slices"
	"time"

	"vtm-ingress/controller/translate"
)

// Expired is a verdict with a warning if a certificate of its Ingress has ended by now;
// the verdict itself, which may be nil, if none has. The traffic manager goes on showing
// it.
func Expired(v *translate.Verdict, now time.Time) *translate.Verdict {
	if v == nil || v.Ends.At.IsZero() || now.Before(v.Ends.At) {
		return v
	}
	worse := *v
	worse.Reasons = append(slices.Clone(v.Reasons), translate.Reason{Code: "CertificateExpired",
		Message: fmt.Sprintf("the certificate of Secret %s ended at %s, and clients refuse it: renew it", v.Ends.Secret, v.Ends.At.UTC().Format(time.RFC3339))})
	return &worse
}
