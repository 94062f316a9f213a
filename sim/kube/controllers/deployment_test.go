package controllers_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func condition(d *appsv1.Deployment, kind appsv1.DeploymentConditionType) appsv1.DeploymentCondition {
	for _, x := range d.Status.Conditions {
		if x.Type == kind {
			return x
		}
	}
	return appsv1.DeploymentCondition{}
}

func TestARolloutKeepsItsLimits(t *testing.T) {
	inBubble(t, setup{nodes: 2}, func(c *cluster) {
		c.app(nil)
		c.Eventually("the first rollout", c.rolledOut)
		c.template("2")
		most := 0
		c.during("the second rollout", c.rolledOut, func() {
			available, alive := 0, 0
			for _, p := range c.pods() {
				if p.DeletionTimestamp == nil {
					alive++
					if ready(p) {
						available++
					}
				}
			}
			most = max(most, alive)
			if available < 3 || alive > 4 {
				t.Fatalf("%d available of %d pods; at least 3, at most 4 are allowed", available, alive)
			}
		})
		if most != 4 {
			t.Errorf("never more than %d pods: nothing surged", most)
		}
		d := c.deployment()
		if x := condition(d, appsv1.DeploymentProgressing); x.Status != "True" || x.Reason != "NewReplicaSetAvailable" {
			t.Errorf("%+v", x)
		}
		if x := condition(d, appsv1.DeploymentAvailable); x.Status != "True" {
			t.Errorf("%+v", x)
		}
		sets := c.replicaSets()
		if d.Annotations[revision] != "2" || len(sets) != 2 || *sets[0].Spec.Replicas != 0 || *sets[1].Spec.Replicas != 3 {
			t.Errorf("revision %s, %+v", d.Annotations[revision], sets)
		}
		for _, p := range c.pods() {
			if p.DeletionTimestamp == nil && p.Labels["pod-template-hash"] != sets[1].Labels["pod-template-hash"] {
				t.Errorf("%s is not of the new ReplicaSet: %v", p.Name, p.Labels)
			}
		}
	})
}

func TestScalingDownTakesWhatServesNobodyFirst(t *testing.T) {
	inBubble(t, setup{nodes: 2}, func(c *cluster) {
		c.app(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](2) })
		c.Eventually("the rollout", c.rolledOut)
		first := c.pods()
		time.Sleep(2 * time.Second) // ages are in whole seconds
		c.patch(`{"spec":{"replicas":4}}`)
		c.Eventually("four pods", c.rolledOut)
		// The oldest would stay, were it not unready.
		c.unready(first[0])
		c.patch(`{"spec":{"replicas":3}}`)
		c.Eventually("three pods", func() (bool, any) { return len(c.pods()) == 3, len(c.pods()) })
		for _, p := range c.pods() {
			if p.Name == first[0].Name {
				t.Errorf("%s is still there, and does not serve", p.Name)
			}
		}
		c.patch(`{"spec":{"replicas":0}}`)
		c.Eventually("no pods", func() (bool, any) { return len(c.pods()) == 0, nil })
	})
}

func TestAnUndoneRolloutBringsTheOldReplicaSetBack(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.app(nil)
		c.template("1")
		c.Eventually("the first rollout", c.rolledOut)
		c.template("2")
		c.Eventually("the second rollout", c.rolledOut)
		before := c.replicaSets()
		c.template("1")
		c.Eventually("back", c.rolledOut)
		after := c.replicaSets()
		old := before[len(before)-2]
		last := after[len(after)-1]
		if len(after) != len(before) || last.UID != old.UID || last.Annotations[revision] != "4" && last.Annotations[revision] != "3" || *last.Spec.Replicas != 3 {
			t.Errorf("before %v, after %v", before, after)
		}
		if got := c.deployment().Annotations[revision]; got != last.Annotations[revision] {
			t.Errorf("the Deployment is of revision %s, its ReplicaSet of %s", got, last.Annotations[revision])
		}
	})
}

func TestAPausedDeploymentScalesButDoesNotRoll(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.app(nil)
		c.Eventually("the rollout", c.rolledOut)
		c.patch(`{"spec":{"paused":true}}`)
		c.template("2")
		c.patch(`{"spec":{"replicas":5}}`)
		c.Eventually("five pods", func() (bool, any) { return c.deployment().Status.AvailableReplicas == 5, nil })
		time.Sleep(time.Minute)
		if sets := c.replicaSets(); len(sets) != 1 {
			t.Errorf("%d ReplicaSets", len(sets))
		}
		if x := condition(c.deployment(), appsv1.DeploymentProgressing); x.Reason != "DeploymentPaused" {
			t.Errorf("%+v", x)
		}
		c.patch(`{"spec":{"paused":false}}`)
		c.Eventually("the rollout after the pause", c.rolledOut)
		if sets := c.replicaSets(); len(sets) != 2 || *sets[1].Spec.Replicas != 5 {
			t.Errorf("%+v", sets)
		}
	})
}

func TestRecreateNeverMixesTemplates(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.app(func(d *appsv1.Deployment) {
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		})
		c.Eventually("the rollout", c.rolledOut)
		for _, version := range []string{"2", "3", "2"} { // the last has a ReplicaSet already
			c.template(version)
			c.during("the rollout of "+version, func() (bool, any) {
				ok, status := c.rolledOut()
				return ok && c.pods()[0].Annotations["version"] == version, status
			}, func() {
				seen := map[string]bool{}
				for _, p := range c.pods() { // those that are ending run, too
					seen[p.Annotations["version"]] = true
				}
				if len(seen) > 1 {
					t.Fatalf("pods of %v at once", seen)
				}
			})
		}
	})
}

func TestOldReplicaSetsBeyondTheLimitGo(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.app(func(d *appsv1.Deployment) { d.Spec.RevisionHistoryLimit = ptr.To[int32](1) })
		for _, version := range []string{"1", "2", "3"} {
			c.template(version)
			c.Eventually("the rollout of "+version, c.rolledOut)
		}
		c.Eventually("the history to be cut", func() (bool, any) { return len(c.replicaSets()) == 2, len(c.replicaSets()) })
		if sets := c.replicaSets(); *sets[1].Spec.Replicas != 3 || sets[0].Spec.Template.Annotations["version"] != "2" {
			t.Errorf("%+v", sets)
		}
	})
}

func TestARolloutThatCannotWorkMissesItsDeadline(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.app(func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = ptr.To[int32](30) })
		c.Eventually("the rollout", c.rolledOut)
		c.patch(`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nowhere/unknown:1"}]}}}}`)
		c.Eventually("the deadline", func() (bool, any) {
			x := condition(c.deployment(), appsv1.DeploymentProgressing)
			return x.Reason == "ProgressDeadlineExceeded" && x.Status == corev1.ConditionFalse, x
		})
		if got := c.deployment().Status; got.AvailableReplicas != 3 || got.Replicas != 4 {
			t.Errorf("the old pods do not go on: %+v", got)
		}
		c.patch(`{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"hello:2"}]}}}}`)
		c.Eventually("a good image to help", c.rolledOut)
	})
}

func TestAPodLostAfterTheRolloutMissesNoDeadline(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.app(func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = ptr.To[int32](30) })
		c.Eventually("the rollout", c.rolledOut)
		c.unready(c.pods()[0])
		time.Sleep(5 * time.Minute)
		d := c.deployment()
		if x := condition(d, appsv1.DeploymentProgressing); x.Reason != "NewReplicaSetAvailable" {
			t.Errorf("%+v", x)
		}
		if x := condition(d, appsv1.DeploymentAvailable); x.Status != corev1.ConditionFalse {
			t.Errorf("two of three are not enough: %+v", x)
		}
	})
}

func TestMinReadySecondsDelayARollout(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.app(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](1) })
		c.Eventually("the rollout", c.rolledOut)
		c.patch(`{"spec":{"minReadySeconds":20}}`)
		c.Eventually("the ReplicaSet to know", func() (bool, any) { return c.replicaSets()[0].Spec.MinReadySeconds == 20, nil })
		c.template("2")
		began := time.Now() // times of conditions are whole seconds
		c.Eventually("the second rollout", func() (bool, any) {
			ok, status := c.rolledOut()
			return ok && c.deployment().Annotations[revision] == "2", status
		})
		if took := time.Since(began); took < 19*time.Second {
			t.Errorf("took %s only", took)
		}
	})
}
