/* SPDX-License-Identifier: BSD-3-Clause */
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#include "random.h"
#include "report.h"
#include "stage.h"

#define STALL_STEPS	12u		/* at most, of others, while it is stalled */
#define WAITS_MAX	20000u		/* of all threads, with nothing that happens */
#define NOBODY		ACTORS

struct actor {
	pthread_t thread;
	sem_t go;
	struct listener listener;
	bool on_stage;			/* its thread runs, or could */
	bool leaving;			/* it is in the destructors of its thread */
	unsigned stalled_until;		/* steps done by all */
	unsigned step, step_events;
};

static struct life *life;
static const struct play *play;
static struct actor *actors;		/* of this act: a crash leaves them as they are */
static sem_t back;			/* somebody leaves, or there was a crash */
static unsigned leaver;
static bool crashed;
static unsigned next_step[ACTORS];	/* of each: its next one is not before this */
static unsigned last_step, steps_done, waits;

unsigned stage_step(void)
{
	return last_step;
}

static unsigned own_index(void)
{
	return listening->flusher;
}

static bool has_more(unsigned index)
{
	unsigned *next = &next_step[index];

	while (*next < play->step_count &&
	       (play->steps[*next].dropped || play->steps[*next].actor != index))
		++*next;
	return *next < play->step_count;
}

static bool is_stalled(unsigned index)
{
	return actors[index].stalled_until > steps_done;
}

/* One of the others, chosen by @random; NOBODY if there is none. */
static unsigned choose_other(unsigned self, uint64_t random, bool even_stalled)
{
	for (unsigned i = 0; i < play->actors; i++) {
		unsigned index = (unsigned)((random + i) % play->actors);

		if (index != self && actors[index].on_stage &&
		    (even_stalled || !is_stalled(index)))
			return index;
	}
	return NOBODY;
}

static void give_to(unsigned self, unsigned other)
{
	/* Taken before: after a crash meanwhile `actors` are those of the next act. */
	sem_t *go = &actors[self].go;

	sem_post(&actors[other].go);
	sem_wait(go);
}

static unsigned who_leaves(void)
{
	for (unsigned i = 0; i < play->actors; i++)
		if (actors[i].leaving)
			return i;
	return NOBODY;
}

/* No thread ever comes back from here. */
static void crash(void)
{
	crashed = true;
	sem_post(&back);
	for (;;)
		pause();
}

static void after_event(void)
{
	unsigned self = own_index(), other;
	struct actor *actor = &actors[self];
	const struct step *step = &play->steps[actor->step];
	uint64_t random = mix_two(step->random, actor->step_events++);

	waits = 0;
	if ((actor->step_events == step->crash_at ||
	     (play->crash_growing && life->growing && random % 3)) && who_leaves() == NOBODY)
		crash();
	if (step->still || actor->leaving || random % play->switch_each)
		return;
	random >>= 16;
	other = choose_other(self, random, false);
	if (other == NOBODY)
		return;
	if (random / 256 % play->stall_each == 0)
		actor->stalled_until = steps_done + 1 + random / 65536 % STALL_STEPS;
	give_to(self, other);
}

static void instead_of_waiting(void)
{
	unsigned self = own_index(), other;
	uint64_t random = mix_two(play->steps[actors[self].step].random, waits);

	if (++waits > WAITS_MAX)
		violation("all threads wait for each other");
	other = choose_other(self, random, waits > 50);
	if (other == NOBODY)
		other = choose_other(self, random, true);
	if (other != NOBODY)
		give_to(self, other);
}

static bool act_step(struct actor *actor, unsigned index)
{
	const struct step *step = &play->steps[next_step[index]];

	actor->step = last_step = next_step[index]++;
	violated->step = last_step;
	actor->step_events = 0;
	life->effort = last_step >= play->warm && step->random % play->tried_each == 0 ?
			       play->effort : NULL;
	if (step->kind == OP_LEAVE)
		return false;
	ops_run(life, index, step->kind, step->random);
	steps_done++;
	return true;
}

static void *act(void *arg)
{
	struct actor *actor = arg;
	unsigned self = (unsigned)(actor - actors);

	sem_wait(&actor->go);
	listening = &actor->listener;
	while (has_more(self)) {
		if (!act_step(actor, self))
			break;
		/* Between two operations, too. */
		after_event();
	}
	/* One at a time: the main thread waits for it. */
	while (who_leaves() != NOBODY)
		give_to(self, who_leaves());
	actor->leaving = true;
	leaver = self;
	sem_post(&back);
	return NULL;
}

static void enter(unsigned index)
{
	struct actor *actor = &actors[index];

	actor->on_stage = true;
	actor->leaving = false;
	media_new_flusher(life->media, index);
	if (pthread_create(&actor->thread, NULL, act, actor))
		broken("no thread");
}

bool stage_play(struct life *new_life, const struct play *new_play)
{
	unsigned next = 0;

	life = new_life;
	play = new_play;
	crashed = false;
	sem_init(&back, 0, 0);
	actors = calloc(ACTORS, sizeof(*actors));
	if (!actors)
		broken("no memory");
	for (unsigned i = 0; i < play->actors; i++) {
		sem_init(&actors[i].go, 0, 0);
		actors[i].listener = (struct listener){
			.life = life, .flusher = i, .happened = after_event,
			.wait = instead_of_waiting};
		if (has_more(i))
			enter(i);
	}
	for (;;) {
		next = choose_other(NOBODY, next, true);
		if (next == NOBODY)
			return false;
		sem_post(&actors[next].go);
		sem_wait(&back);
		if (crashed)
			return true;
		next = leaver;
		pthread_join(actors[next].thread, NULL);
		actors[next].on_stage = false;
		actors[next].leaving = false;
		actors[next].stalled_until = 0;
		if (has_more(next))
			enter(next);
		next++;
	}
}
