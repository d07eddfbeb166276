"""Detections and annotations of others: the formats, their frames and pixels, and files that are damaged or foreign."""

import json

import pytest

from trainer.objects.annotations import read_annotations, read_tracks
from trainer.objects.detections import read_detections

ROW = {"image_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 2}
DATASET = {
    "videos": [{"id": 1, "name": "val/a"}, {"id": 2, "name": "val/b"}],
    "images": [
        {"id": 11, "video_id": 1, "frame_index": 30, "file_name": "a/030.png", "height": 20, "width": 30},
        {"id": 12, "video_id": 1, "frame_index": 0, "file_name": "a/000.png", "height": 20, "width": 30},
        {"id": 10, "video_id": 2, "frame_index": 0, "file_name": "b/000.png"},
    ],
    "categories": [{"id": 1, "name": "cat", "merged": [{"id": 9, "name": "kitten"}]}, {"id": 2, "name": "dog"}],
    "tracks": [{"id": 5, "video_id": 1, "category_id": 1}],
    "annotations": [
        {"id": 1, "image_id": 11, "video_id": 1, "track_id": 5, "bbox": [1, 2, 3, 4], "category_id": 9},
        {"id": 2, "image_id": 11, "video_id": 1, "track_id": 6, "bbox": [2, 2, 3, 4], "category_id": 2},
    ],
}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_tao_style_json(tmp_path):
    rows = [ROW, ROW | {"image_id": 3, "video_id": 1}, ROW | {"score": 0.25, "bbox": [0.5, 0, 0, 1.5]}]
    file = read_detections(write(tmp_path / "d.json", rows))
    assert sorted(file.for_images([3, 7, 9])) == [3, 7]
    assert sorted(file.for_one_video()) == [3, 7]  # without a list of images, ids are frame numbers
    found = file.detections[7]
    assert found.boxes.tolist() == [[1, 2, 4, 6], [0.5, 0, 0.5, 1.5]]
    assert found.scores.tolist() == [0.5, 0.25] and found.labels.tolist() == [2, 2]


@pytest.mark.parametrize("key", ["frame_index", "frame_id"])
def test_coco_style_json_orders_ids_by_its_own_images(tmp_path, key):
    images = [{"id": 7, "video_id": 1, key: 1}, {"id": 3, "video_id": 1, key: 0}]
    file = read_detections(write(tmp_path / "d.json", {"images": images, "annotations": [ROW]}))
    assert list(file.for_one_video()) == [1] and list(file.for_images([3, 7])) == [7]


def test_mot_counts_frames_and_pixels_from_1(tmp_path):
    text = "1,-1,11,21,30,40,0.9,-1,-1,-1\n\n2, 5, 1, 1, 3.5, 4, 2.5\n"
    file = read_detections(write(tmp_path / "det.txt", text))
    found = file.for_one_video()
    assert sorted(found) == [0, 1] and found[0].boxes.tolist() == [[10, 20, 40, 60]]
    assert found[1].scores.tolist() == [2.5] and found[1].labels.tolist() == [1]


def test_csv_with_and_without_categories(tmp_path):
    text = "frame,x,y,width,height,score\n0,1,2,3,4,.5\n"
    assert read_detections(write(tmp_path / "d.csv", text)).for_one_video()[0].boxes.tolist() == [[1, 2, 4, 6]]
    text = "score, category_id,frame,x,y,width,height\n.5,3,12,1,2,3,4\n"
    found = read_detections(write(tmp_path / "d.csv", text)).for_one_video()[12]
    assert found.labels.tolist() == [3] and found.boxes.tolist() == [[1, 2, 4, 6]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.xml", "", r"d\.xml: detections are \.json, \.txt \(MOT\) or \.csv"),
        ("d.json", "[{]", r"d\.json: not a json file"),
        ("d.json", '[{"image_id": 7', "not a json file"),
        ("d.json", "\x00\x01", "not a json file"),
        ("d.json", "3", "expected a list of detections"),
        ("d.json", {"images": []}, "or a mapping with 'annotations'"),
        ("d.json", [ROW, 5], "expected a list of detections"),
        ("d.json", [ROW, ROW | {"bbox": [1, 2, 3]}], r"detection 1 has bbox=\[1, 2, 3\], expected \[x, y, width"),
        ("d.json", [ROW | {"bbox": [1, 2, -3, 4]}], "detection 0 has bbox"),
        ("d.json", [ROW | {"bbox": [1, 2, "3", 4]}], "detection 0 has bbox"),
        ("d.json", '[{"image_id": 1, "bbox": [1, NaN, 3, 4], "score": 1}]', "detection 0 has bbox"),
        ("d.json", [{"image_id": 7, "bbox": [1, 2, 3, 4]}], "detection 0 has score=None, expected a number"),
        ("d.json", [ROW | {"image_id": "a"}], "detection 0 has image_id='a', expected a whole number"),
        ("d.json", {"images": [{"id": 1}], "annotations": []}, "image 0 has no frame_index"),
        ("d.txt", "1,1,2,3,4\n", "line 1 has 5 values, expected frame, id"),
        ("d.txt", "1,1,2,3,4,5,.5\n0,1,2,3,4,5,.5\n", "line 2: -1 is no frame number"),
        ("d.txt", "1,1,2,3,x,5,.5\n", "line 1 has 'x', expected a number"),
        ("d.txt", "1,1,2,3,4,5,nan\n", "line 1 has 'nan', expected a number"),
        ("d.csv", "", "line 1 has no column 'frame'"),
        ("d.csv", "frame,x,y,w,h,score\n", "no column 'width'; columns: frame, x, y, width, height, score"),
        ("d.csv", "frame,x,y,width,height,score\n0,1,2,3,4\n", "line 2 has 5 values for 6 columns"),
        ("d.csv", "frame,x,y,width,height,score\n0.5,1,2,3,4,1\n", "line 2: 0.5 is no frame number"),
    ],
)
def test_damaged_and_foreign_detections_are_named(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_detections(write(tmp_path / name, content))


def test_detections_of_something_else_are_refused(tmp_path):
    with pytest.raises(ValueError, match="1 of 1 image ids are not in the annotations, such as 7"):
        read_detections(write(tmp_path / "d.json", [ROW])).for_images([1, 2])
    with pytest.raises(ValueError, match="has frame numbers of one video; a data set needs json"):
        read_detections(write(tmp_path / "d.txt", "1,1,2,3,4,5,.5\n")).for_images([0])
    two = {"images": DATASET["images"], "annotations": [ROW | {"image_id": 11}]}
    with pytest.raises(ValueError, match="has 2 videos; track them with --annotations"):
        read_detections(write(tmp_path / "d.json", two)).for_one_video()
    one = {"images": DATASET["images"][:2], "annotations": [ROW]}
    with pytest.raises(ValueError, match="a detection is for image 7, which is not in the file's 'images'"):
        read_detections(write(tmp_path / "d.json", one)).for_one_video()


def test_annotations_are_grouped_by_video_and_ordered_by_frame(tmp_path):
    found = read_annotations(write(tmp_path / "a.json", DATASET))
    assert [(video.id, [image.id for image in video.images]) for video in found.videos] == [(1, [12, 11]), (2, [10])]
    assert [image.size for image in found.videos[0].images] == [(20, 30)] * 2 and found.videos[1].images[0].size is None
    assert list(found.truth) == [11] and found.image_ids == {10, 11, 12}
    truth = found.truth[11]
    assert truth.boxes.tolist() == [[1, 2, 4, 6], [2, 2, 5, 6]] and truth.track_ids.tolist() == [5, 6]
    assert truth.labels.tolist() == [1, 2]  # 9 is merged into 1


def test_coco_video_names_are_read_too(tmp_path):
    content = json.loads(json.dumps(DATASET).replace("frame_index", "frame_id").replace("track_id", "instance_id"))
    found = read_annotations(write(tmp_path / "a.json", content))
    assert found.truth[11].track_ids.tolist() == [5, 6] and found.videos[0].images[0].id == 12


def test_tracks_are_read_with_merged_categories(tmp_path):
    annotations = read_annotations(write(tmp_path / "a.json", DATASET))
    tracks = read_tracks(
        write(tmp_path / "t.json", [ROW | {"image_id": 10, "track_id": 1, "category_id": 9}]), annotations
    )
    assert tracks[10].labels.tolist() == [1] and tracks[10].track_ids.tolist() == [1]


def changed(name, number, **values):
    content = json.loads(json.dumps(DATASET))
    content[name][number] = content[name][number] | values
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected json with 'videos' and 'images'"),
        (DATASET | {"images": []}, "expected json with 'videos' and 'images'"),
        (DATASET | {"annotations": [1]}, "'annotations' is no list of objects"),
        (changed("images", 0, video_id=3), "image 0 is of video 3, which is not in 'videos'"),
        (changed("images", 1, id=11), "image 1: a second image has the id 11"),
        (changed("images", 1, frame_index=30), "video 1 has two images with one frame_index"),
        (changed("images", 1, frame_index=None), "image 1 has no frame_index"),
        (changed("images", 1, file_name=None), "image 1 has no file_name"),
        (changed("annotations", 1, image_id=99), "annotation 1 is for image 99, which is not in 'images'"),
        (changed("annotations", 1, bbox=None), "annotation 1 has bbox=None"),
        (changed("annotations", 1, track_id=5), "track 5 has 2 boxes in image 11, expected one"),
    ],
)
def test_damaged_annotations_are_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_annotations(write(tmp_path / "a.json", content))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"annotations": []}, "expected a list of {image_id, bbox, score, category_id, track_id}"),
        ([ROW | {"track_id": 1}], "box 0 is for image 7, which is not in"),
        ([ROW | {"image_id": 10}], "box 0 has no track_id"),
        ([ROW | {"image_id": 10, "track_id": 1}] * 2, "track 1 has 2 boxes in image 10"),
    ],
)
def test_damaged_tracks_are_named(tmp_path, rows, message):
    annotations = read_annotations(write(tmp_path / "a.json", DATASET))
    with pytest.raises(ValueError, match=message):
        read_tracks(write(tmp_path / "t.json", rows), annotations)


def test_empty_files_of_detections_are_no_error(tmp_path):
    for name, content in (("d.json", []), ("d.txt", ""), ("d.csv", "frame,x,y,width,height,score\n")):
        assert read_detections(write(tmp_path / name, content)).for_one_video() == {}
