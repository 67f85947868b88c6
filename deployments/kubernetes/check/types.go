package check

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ScaledObject is as much of KEDA's type (keda.sh/v1alpha1) as the manifests use; decoded strictly, so a key that is not
// here is found. KEDA's own module brings all clouds with it.
type ScaledObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              ScaledObjectSpec `json:"spec"`
}

// ScaledObjectSpec says what is scaled, by what, and how far.
type ScaledObjectSpec struct {
	ScaleTargetRef  ScaleTarget    `json:"scaleTargetRef"`
	PollingInterval *int32         `json:"pollingInterval"`
	CooldownPeriod  *int32         `json:"cooldownPeriod"`
	MinReplicaCount *int32         `json:"minReplicaCount"`
	MaxReplicaCount *int32         `json:"maxReplicaCount"`
	Advanced        *Advanced      `json:"advanced"`
	Triggers        []ScaleTrigger `json:"triggers"`
}

// ScaleTarget names what is scaled.
type ScaleTarget struct {
	Name       string `json:"name"`
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// Advanced is how fast.
type Advanced struct {
	HorizontalPodAutoscalerConfig *struct {
		Behavior *autoscalingv2.HorizontalPodAutoscalerBehavior `json:"behavior"`
	} `json:"horizontalPodAutoscalerConfig"`
}

// ScaleTrigger is where the number comes from.
type ScaleTrigger struct {
	Type     string            `json:"type"`
	Metadata map[string]string `json:"metadata"`
}
