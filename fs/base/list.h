/*
 * An intrusive, circular, doubly linked list. The head is a list_node of its
 * own; an element embeds one and is found again with container_of(). A node
 * that stands in no list points at itself, so list_remove() may be repeated.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list_node {
	struct list_node *prev, *next;
};

#define LIST_INIT(name)          \
	{                        \
		&(name), &(name) \
	}

#define container_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list_node *n)
{
	n->prev = n->next = n;
}

static inline bool list_empty(const struct list_node *head)
{
	return head->next == head;
}

/* Puts `n` behind `at`: list_insert(head, n) makes it the first. */
static inline void list_insert(struct list_node *at, struct list_node *n)
{
	n->prev = at;
	n->next = at->next;
	at->next->prev = n;
	at->next = n;
}

static inline void list_append(struct list_node *head, struct list_node *n)
{
	list_insert(head->prev, n);
}

static inline void list_remove(struct list_node *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

/* NULL when the list is empty. */
static inline struct list_node *list_pop(struct list_node *head)
{
	struct list_node *n = head->next;

	if (n == head)
		return NULL;
	list_remove(n);
	return n;
}

/* Moves all of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice(struct list_node *to, struct list_node *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define list_foreach(n, head) \
	for (struct list_node *n = (head)->next; n != (head); n = n->next)

/* The body may remove or free the element that it stands on, no other. */
#define list_foreach_safe(n, head)                                    \
	for (struct list_node *n = (head)->next, *n##_next = n->next; \
	     n != (head); n = n##_next, n##_next = n->next)
