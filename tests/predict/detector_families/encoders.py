"""Outputs of detectors that mean known boxes, one function per layout, from the layouts' definitions."""

import math

import numpy as np


def to_cxcywh(boxes):
    """Boxes (N, 4) of two corners as center and size."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def count_cells(size, *strides):
    return sum(math.ceil(size[0] / s) * math.ceil(size[1] / s) for s in strides)


def find_cell(point, size, strides, offset=0.5):
    """The cell whose center lies nearest to a point, among all strides: its index, its corner in cells, its stride."""
    first, cells = 0, []
    for stride in strides:
        columns, rows = math.ceil(size[0] / stride), math.ceil(size[1] / stride)
        column = min(max(round(point[0] / stride - offset), 0), columns - 1)
        row = min(max(round(point[1] / stride - offset), 0), rows - 1)
        cells.append((first + row * columns + column, np.array([column, row]), stride))
        first += columns * rows
    return cells


def distance_logits(distances):
    """Distributions (4 * 8) over bins whose means are `distances` in strides, from 0 to 7."""
    table = np.full((4, 8), -1e4)
    for row, distance in zip(table, distances, strict=True):
        low = min(int(distance), 6)
        with np.errstate(divide='ignore'):
            row[[low, low + 1]] = np.maximum(np.log([low + 1 - distance, distance - low]), -1e4)
    return table.reshape(-1)


def encode_nanodet_table(boxes, class_scores, size, strides, offset):
    """One table (cells, classes + 32): each box in a cell of the smallest stride whose 7 bins reach its sides."""
    num_classes = class_scores.shape[1]
    table = np.zeros((count_cells(size, *strides), num_classes + 32))
    table[:, num_classes:] = distance_logits([1, 1, 1, 1])
    for box, scores in zip(boxes, class_scores, strict=True):
        for index, cell, stride in find_cell((box[:2] + box[2:]) / 2, size, strides, offset):
            center = (cell + offset) * stride
            distances = np.concatenate([center - box[:2], box[2:] - center]) / stride
            if distances.max() <= 7:
                table[index] = np.concatenate([scores, distance_logits(distances)])
                break
    return table


def split_nanodet_table(table, size, strides):
    """The table by stride: all class scores, then all distances, as NanoDet's first exporter orders its outputs."""
    ends = np.cumsum([count_cells(size, stride) for stride in strides])
    tables = np.split(table, ends[:-1])
    outputs = {f'scores_{stride}': rows[:, :-32] for stride, rows in zip(strides, tables, strict=True)}
    return outputs | {f'distances_{stride}': rows[:, -32:] for stride, rows in zip(strides, tables, strict=True)}


def encode_yolox(boxes, class_scores, size, decoded):
    """Rows (cells, 5 + classes), all cells filled as a network fills them: with small boxes of a low score."""
    strides = (8, 16, 32)
    rows = np.zeros((count_cells(size, *strides), 5 + class_scores.shape[1]))
    first = 0
    for stride in strides:
        columns, num_rows = math.ceil(size[0] / stride), math.ceil(size[1] / stride)
        for index in range(columns * num_rows):
            center = (np.array([index % columns, index // columns]) + 0.5) * stride
            rows[first + index, :4] = [*center, 1.5 * stride, 2 * stride]
            rows[first + index, 4] = 0.01
        first += columns * num_rows
    for box, scores in zip(to_cxcywh(boxes), class_scores, strict=True):
        index, _, _ = find_cell(box[:2], size, strides)[0]
        rows[index] = [*box, 1.0, *scores]
    if not decoded:
        for start, stride in zip(np.cumsum([0, *(count_cells(size, s) for s in strides[:-1])]), strides, strict=True):
            columns = math.ceil(size[0] / stride)
            for index in range(count_cells(size, stride)):
                row = rows[start + index]
                row[:2] = row[:2] / stride - [index % columns, index // columns]
                row[2:4] = np.log(row[2:4] / stride)
    return rows


def encode_columns(boxes, class_scores, num_cells):
    """(4 + classes, cells) of center, size and class scores."""
    table = np.zeros((4 + class_scores.shape[1], num_cells))
    table[:, : len(boxes)] = np.concatenate([to_cxcywh(boxes), class_scores], axis=1).T
    return table


def encode_rows(boxes, class_scores, num_rows=0):
    """(N, 6) of two corners, score and class, filled up with zeros."""
    labels, scores = class_scores.argmax(axis=1), class_scores.max(axis=1)
    rows = np.zeros((max(num_rows, len(boxes)), 6))
    rows[: len(boxes)] = np.column_stack([boxes, scores, labels])
    return rows


def encode_labeled(boxes, class_scores):
    """(N, 5) of two corners and score, and labels (N,)."""
    rows = encode_rows(boxes, class_scores)
    return {'dets': rows[:, :5], 'labels': rows[:, 5].astype(np.int64)}


def encode_queries(boxes, class_scores, size, num_queries=20):
    """Boxes (N, 4) of center and size relative to the input, and logits (N, classes)."""
    relative = np.full((num_queries, 4), 0.5)
    logits = np.full((num_queries, class_scores.shape[1]), -6.0)
    relative[: len(boxes)] = to_cxcywh(boxes) / [*size, *size]
    logits[: len(boxes)] = np.log(np.maximum(class_scores, 1e-6) / (1 - class_scores))
    return relative, logits
