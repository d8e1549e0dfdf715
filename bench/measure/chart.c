/* SPDX-License-Identifier: BSD-3-Clause */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "chart.h"

#define LEFT	   76.0
#define TOP	   64.0
#define WIDTH	   620.0	/* of the plot alone */
#define HEIGHT	   400.0
#define LEGEND	   (LEFT + WIDTH + 18)
#define PICTURE_W  1040.0
#define PICTURE_H  (TOP + HEIGHT + 56)
#define GLYPH	   6.6		/* width of one, in the font of the legend, at most */

/* Told apart by the colour-blind too (Okabe and Ito), then once more with other marks. */
static const char *const colours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
				      "#E69F00", "#56B4E9", "#4D4D4D"};

struct frame {
	double x_low, x_high;
	double y_low, y_high;	/* log10 of ns */
};

void chart_tick(struct chart *chart, double at, const char *label)
{
	for (unsigned i = 0; i < chart->tick_count; i++)
		if (chart->ticks[i].at == at)
			return;
	if (chart->tick_count == CHART_TICKS_MAX)
		return;
	chart->ticks[chart->tick_count].at = at;
	snprintf(chart->ticks[chart->tick_count++].label, sizeof(chart->ticks[0].label), "%s",
		 label);
}

struct chart_curve *chart_curve(struct chart *chart, char *label, unsigned room)
{
	struct chart_curve *curve = &chart->curves[chart->curve_count++];

	*curve = (struct chart_curve){.label = label,
				      .points = calloc(room + 1, sizeof(*curve->points))};
	if (!curve->points)
		die("out of memory");
	return curve;
}

void chart_free(struct chart *chart)
{
	for (unsigned i = 0; i < chart->curve_count; i++) {
		free(chart->curves[i].label);
		free(chart->curves[i].points);
	}
	chart->curve_count = 0;
}

/* A result may come from anywhere: what XML does not allow becomes a question mark. */
static void print_text(FILE *file, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '&')
			fputs("&amp;", file);
		else if (c == '<')
			fputs("&lt;", file);
		else if (c == '>')
			fputs("&gt;", file);
		else
			fputc(c < ' ' || c > '~' ? '?' : c, file);
	}
}

static struct frame frame_of(const struct chart *chart)
{
	struct frame frame = {INFINITY, -INFINITY, INFINITY, -INFINITY};

	for (unsigned i = 0; i < chart->curve_count; i++)
		for (unsigned k = 0; k < chart->curves[i].count; k++) {
			const struct chart_point *point = &chart->curves[i].points[k];
			double low = point->low > 0 ? point->low : point->ns;

			frame.x_low = fmin(frame.x_low, point->x);
			frame.x_high = fmax(frame.x_high, point->x);
			frame.y_low = fmin(frame.y_low, log10(fmax(low, 1)));
			frame.y_high = fmax(frame.y_high, log10(fmax(point->ns, 1)));
			frame.y_high = fmax(frame.y_high, log10(fmax(point->high, 1)));
		}
	/* Some air; and an axis even for one point. */
	frame.y_low -= 0.08;
	frame.y_high = fmax(frame.y_high + 0.08, frame.y_low + 0.5);
	if (frame.x_high - frame.x_low < 1e-9) {
		frame.x_low -= 1;
		frame.x_high += 1;
	}
	return frame;
}

static double x_of(const struct frame *frame, double x)
{
	return LEFT + (x - frame->x_low) / (frame->x_high - frame->x_low) * WIDTH;
}

static double y_of(const struct frame *frame, double ns)
{
	double y = log10(fmax(ns, 1));

	return TOP + HEIGHT - (y - frame->y_low) / (frame->y_high - frame->y_low) * HEIGHT;
}

/* "20 us" */
static void name_time(double ns, char *name, size_t room)
{
	if (ns < 999.5)
		snprintf(name, room, "%.0f ns", ns);
	else if (ns < 999.5e3)
		snprintf(name, room, "%.0f \u00b5s", ns / 1e3);
	else if (ns < 999.5e6)
		snprintf(name, room, "%.0f ms", ns / 1e6);
	else
		snprintf(name, room, "%.0f s", ns / 1e9);
}

/* About as many of each decade as there is room for. */
static const char *digits_of(const struct frame *frame)
{
	double decades = frame->y_high - frame->y_low;

	return decades > 3 ? "1" : decades > 1 ? "125" : "1234568";
}

static void write_y_axis(const struct frame *frame, FILE *file)
{
	for (int decade = 0; decade < 13; decade++)
		for (const char *digit = digits_of(frame); *digit; digit++) {
			double ns = (*digit - '0') * pow(10, decade), y = y_of(frame, ns);
			char name[16];

			if (log10(ns) < frame->y_low || log10(ns) > frame->y_high)
				continue;
			name_time(ns, name, sizeof(name));
			fprintf(file, "<path class='grid' d='M%.1f %.1fh%.1f'/>\n"
				"<text x='%.1f' y='%.1f' text-anchor='end'>%s</text>\n", LEFT, y,
				WIDTH, LEFT - 8, y + 4, name);
		}
}

static void write_x_axis(const struct chart *chart, const struct frame *frame, FILE *file)
{
	for (unsigned i = 0; i < chart->tick_count; i++) {
		double x = x_of(frame, chart->ticks[i].at);

		if (chart->ticks[i].at < frame->x_low - 1e-9 ||
		    chart->ticks[i].at > frame->x_high + 1e-9)
			continue;
		fprintf(file, "<path class='grid' d='M%.1f %.1fv%.1f'/>\n"
			"<text x='%.1f' y='%.1f' text-anchor='middle'>%s</text>\n", x, TOP, HEIGHT,
			x, TOP + HEIGHT + 18, chart->ticks[i].label);
	}
	fprintf(file, "<text x='%.1f' y='%.1f' text-anchor='middle'>", LEFT + WIDTH / 2,
		TOP + HEIGHT + 40);
	print_text(file, chart->x_label);
	fputs("</text>\n", file);
}

static void write_band(const struct chart_curve *curve, const struct frame *frame,
		       const char *colour, double opacity, FILE *file)
{
	bool any = false;

	for (unsigned i = 0; i < curve->count; i++)
		any |= curve->points[i].low > 0;
	if (!any || curve->count < 2)
		return;
	fputs("<path d='", file);
	for (unsigned i = 0; i < curve->count; i++)
		fprintf(file, "%c%.1f %.1f", i ? 'L' : 'M', x_of(frame, curve->points[i].x),
			y_of(frame, curve->points[i].low > 0 ? curve->points[i].low :
							       curve->points[i].ns));
	for (unsigned i = curve->count; i-- > 0;)
		fprintf(file, "L%.1f %.1f", x_of(frame, curve->points[i].x),
			y_of(frame, fmax(curve->points[i].high, curve->points[i].ns)));
	fprintf(file, "Z' fill='%s' fill-opacity='%.2f'/>\n", colour, opacity);
}

/* Of the dashes: whole the first time that a colour is used. */
static const char *dashes(bool dashed, bool second_lap)
{
	return dashed ? " stroke-dasharray='2 4'" : second_lap ? " stroke-dasharray='9 3'" : "";
}

static void write_curve(const struct chart_curve *curve, const struct frame *frame,
			const char *colour, bool second_lap, FILE *file)
{
	bool marks = !curve->dashed && curve->count <= 16;

	fputs("<path d='", file);
	for (unsigned i = 0; i < curve->count; i++)
		fprintf(file, "%c%.1f %.1f", i ? 'L' : 'M', x_of(frame, curve->points[i].x),
			y_of(frame, curve->points[i].ns));
	fprintf(file, "' fill='none' stroke='%s' stroke-width='1.8' stroke-linejoin='round'%s/>\n",
		colour, dashes(curve->dashed, second_lap));
	for (unsigned i = 0; marks && i < curve->count; i++)
		fprintf(file, "<circle cx='%.1f' cy='%.1f' r='3.2' fill='%s'/>\n",
			x_of(frame, curve->points[i].x), y_of(frame, curve->points[i].ns), colour);
}

/* On two lines where it is too long for one.  Returns where the next one begins. */
static double write_label(const char *label, double y, const char *colour, bool second_lap,
			  FILE *file)
{
	size_t fits = (size_t)((PICTURE_W - LEGEND - 34) / GLYPH), cut = strlen(label);
	const char *rest = NULL;
	char first[128];

	if (cut > fits) {
		/* At a slash or a space. */
		for (cut = fits; cut > fits / 2 && label[cut - 1] != '/' && label[cut - 1] != ' ';)
			cut--;
		rest = label + cut;
	}
	snprintf(first, sizeof(first), "%.*s", (int)cut, label);
	fprintf(file, "<path d='M%.1f %.1fh22' stroke='%s' stroke-width='2.4'%s/>\n"
		"<text x='%.1f' y='%.1f'>", LEGEND, y - 4, colour, dashes(false, second_lap),
		LEGEND + 28, y);
	print_text(file, first);
	fputs("</text>\n", file);
	if (!rest)
		return y + 21;
	fprintf(file, "<text x='%.1f' y='%.1f'>", LEGEND + 28, y + 14);
	print_text(file, rest);
	fputs("</text>\n", file);
	return y + 35;
}

static void write_head(const struct chart *chart, FILE *file)
{
	fprintf(file, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %.0f %.0f' "
		"width='%.0f' height='%.0f' font-family='sans-serif' font-size='12'>\n"
		"<style>text{fill:#222}.grid{stroke:#ddd;stroke-width:1;fill:none}</style>\n"
		"<rect width='100%%' height='100%%' fill='white'/>\n"
		"<text x='%.1f' y='26' font-size='17' font-weight='bold'>", PICTURE_W, PICTURE_H,
		PICTURE_W, PICTURE_H, LEFT);
	print_text(file, chart->title);
	fprintf(file, "</text>\n<text x='%.1f' y='46'>", LEFT);
	print_text(file, chart->subtitle);
	fputs("</text>\n", file);
}

void chart_write(const struct chart *chart, FILE *file)
{
	const unsigned colour_count = sizeof(colours) / sizeof(colours[0]);
	struct frame frame = frame_of(chart);
	double y = TOP + 12;
	unsigned nth = 0;

	write_head(chart, file);
	write_y_axis(&frame, file);
	write_x_axis(chart, &frame, file);
	/* Below all curves; of many the fainter. */
	for (unsigned i = 0, k = 0; i < chart->curve_count; i++)
		if (!chart->curves[i].dashed)
			write_band(&chart->curves[i], &frame, colours[k++ % colour_count],
				   chart->curve_count > 8 ? 0.08 : 0.15, file);
	for (unsigned i = 0; i < chart->curve_count; i++) {
		const struct chart_curve *curve = &chart->curves[i];
		const char *colour = colours[(curve->dashed ? nth - 1 : nth) % colour_count];

		write_curve(curve, &frame, colour, nth >= colour_count, file);
		if (!curve->dashed) {
			y = write_label(curve->label, y, colour, nth >= colour_count, file);
			nth++;
		}
	}
	fputs("</svg>\n", file);
}
